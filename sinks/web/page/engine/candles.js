// plotcandle(), plotbar(), and the candles that barcolor() paints.

import { BLUE } from "./plots.js";
import { opaque, visible } from "./scene.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./plots.js").Meta} Meta */
/** @typedef {{x: number, open: number, high: number, low: number, close: number}} Ohlc in coordinates */

/**
 * plotcandle() and plotbar(): four values a bar.
 * @param {Scene} scene
 * @param {Meta} meta
 */
export function drawCandles(scene, meta) {
  const { rows } = scene;
  const [first, last] = scene.span(0, meta.show_last);
  const styles = rows.styles(meta.id, Math.max(first, 0));
  const described = [meta.color ?? BLUE, meta.wickcolor, meta.bordercolor];
  for (let row = first; row <= last; row++) {
    const dynamic = styles(row);
    const [color, wick, border] = dynamic === undefined ? described : Array.isArray(dynamic) ? dynamic : [dynamic];
    const place = scene.placeOf(row);
    const [open, high, low, close] = ["open", "high", "low", "close"].map((part) =>
      scene.y(rows.value(`${meta.id} (${part})`, row)));
    if (Number.isNaN(place + open + high + low + close)) continue;
    const bar = { x: scene.x(place), open, high: Math.min(high, open, close), low: Math.max(low, open, close), close };
    if (meta.kind === "candle") candle(scene, bar, color, wick ?? color, border ?? color);
    else if (visible(color)) ohlc(scene, bar, color);
  }
}

/**
 * barcolor(): the chart's own candles once more, in the colour that the last call says.
 * @param {Scene} scene
 * @param {Meta[]} metas
 */
export function drawBarColors(scene, metas) {
  const { bars: shown } = scene.ground;
  for (const meta of metas) {
    const offset = meta.offset ?? 0;
    const [first, last] = scene.span(offset, meta.show_last);
    const styles = scene.rows.styles(meta.id, Math.max(first, 0));
    for (let row = first; row <= last; row++) {
      const color = styles(row);
      const place = scene.placeOf(row) + offset;
      if (!visible(color) || !(place >= 0 && place < shown.length)) continue;
      const [open, high, low, close] = [shown.open(place), shown.high(place), shown.low(place), shown.close(place)];
      const bar = { x: scene.x(place), open: scene.y(open), high: scene.y(high), low: scene.y(low), close: scene.y(close) };
      candle(scene, bar, opaque(color), opaque(color), opaque(color));
    }
  }
}

/**
 * A candle on the very pixels that the engine gives it.
 * @param {Scene} scene
 * @param {Ohlc} bar
 * @param {string | null} color
 * @param {string | null} wick
 * @param {string | null} border
 */
function candle(scene, bar, color, wick, border) {
  const { canvas, ratio } = scene;
  const width = candleWidth(scene.spacing, ratio);
  const thin = Math.max(Math.floor(ratio), 1);
  const [x, top, bottom] = [bar.x, Math.min(bar.open, bar.close), Math.max(bar.open, bar.close)]
    .map((at) => Math.round(at * ratio));
  const [high, low] = [Math.round(bar.high * ratio), Math.round(bar.low * ratio)];
  const left = x - Math.floor(width / 2);
  canvas.save();
  canvas.scale(1 / ratio, 1 / ratio);
  if (visible(wick)) {
    canvas.fillStyle = wick;
    canvas.fillRect(x - Math.floor(thin / 2), high, thin, top - high);
    canvas.fillRect(x - Math.floor(thin / 2), bottom + 1, thin, low - bottom);
  }
  const tall = bottom - top + 1;
  if (visible(color)) {
    canvas.fillStyle = color;
    canvas.fillRect(left, top, width, tall);
  }
  if (visible(border) && border !== color) {
    canvas.strokeStyle = border;
    canvas.lineWidth = thin;
    canvas.strokeRect(left + thin / 2, top + thin / 2, Math.max(width - thin, 0), Math.max(tall - thin, 0));
  }
  canvas.restore();
}

/**
 * The width of a candle's body as the engine reckons it, in device pixels.
 * @param {number} spacing
 * @param {number} ratio
 */
function candleWidth(spacing, ratio) {
  let width = Math.floor(3 * ratio);
  if (spacing < 2.5 || spacing > 4) {
    const share = 1 - 0.2 * (Math.atan(Math.max(4, spacing) - 4) / (Math.PI / 2));
    width = Math.max(Math.floor(ratio), Math.min(Math.floor(spacing * share * ratio), Math.floor(spacing * ratio)));
  }
  return width >= 2 && Math.floor(ratio) % 2 !== width % 2 ? width - 1 : width;
}

/**
 * @param {Scene} scene
 * @param {Ohlc} bar
 * @param {string} color
 */
function ohlc(scene, bar, color) {
  const { canvas } = scene;
  const arm = Math.max(scene.spacing * 0.35, 1);
  const thick = 1;
  const x = scene.sharp(bar.x) - thick / 2;
  canvas.fillStyle = color;
  canvas.fillRect(x, bar.high, thick, bar.low - bar.high);
  canvas.fillRect(x - arm, scene.sharp(bar.open) - thick / 2, arm, thick);
  canvas.fillRect(x + thick, scene.sharp(bar.close) - thick / 2, arm, thick);
}
