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
  const titles = ["open", "high", "low", "close"].map((part) => `${meta.id} (${part})`);
  const pen = new Pen(scene);
  for (let row = first; row <= last; row++) {
    const dynamic = styles(row);
    const [color, wick, border] = dynamic === undefined ? described : Array.isArray(dynamic) ? dynamic : [dynamic];
    const x = scene.x(scene.placeOf(row));
    const [open, high, low, close] = titles.map((title) => scene.y(rows.value(title, row)));
    if (!Number.isFinite(x + open + high + low + close)) continue;
    const bar = { x, open, high: Math.min(high, open, close), low: Math.max(low, open, close), close };
    if (meta.kind === "candle") pen.candle(bar, color, wick ?? color, border ?? color);
    else if (visible(color)) pen.bar(bar, color);
  }
  pen.end();
}

/**
 * barcolor(): the chart's own candles once more; where several calls colour a bar, the last one is on top.
 * @param {Scene} scene
 * @param {Meta} meta
 */
export function drawBarColors(scene, meta) {
  const { bars } = scene.ground;
  const offset = meta.offset ?? 0;
  const [first, last] = scene.span(offset, meta.show_last);
  const styles = scene.rows.styles(meta.id, Math.max(first, 0));
  const pen = new Pen(scene);
  for (let row = first; row <= last; row++) {
    const said = styles(row);
    const place = visible(said) ? scene.placeOf(row) + offset : NaN;
    if (!(place >= 0 && place < bars.length)) continue;
    const [open, high, low, close] = [bars.open(place), bars.high(place), bars.low(place), bars.close(place)].map(scene.y);
    const color = opaque(said);
    pen.candle({ x: scene.x(place), open, high, low, close }, color, color, color);
  }
  pen.end();
}

/** Draws in device pixels, so that a candle is on the very pixels that the engine gives to its own. */
class Pen {
  /** @param {Scene} scene */
  constructor({ canvas, ratio, spacing }) {
    this.canvas = canvas;
    this.ratio = ratio;
    this.width = candleWidth(spacing, ratio);
    this.thin = Math.max(Math.floor(ratio), 1);
    this.arm = Math.max(Math.round(spacing * ratio * 0.35), 1);
    this.color = "";
    canvas.save();
    canvas.scale(1 / ratio, 1 / ratio);
  }

  end() {
    this.canvas.restore();
  }

  /**
   * @param {string} color
   * @param {number} left
   * @param {number} top
   * @param {number} width
   * @param {number} height
   */
  fill(color, left, top, width, height) {
    if (color !== this.color) this.color = this.canvas.fillStyle = color;
    this.canvas.fillRect(left, top, width, height);
  }

  /**
   * @param {Ohlc} bar
   * @param {string | null} color
   * @param {string | null} wick
   * @param {string | null} border
   */
  candle({ x, open, high, low, close }, color, wick, border) {
    const { width, thin, ratio } = this;
    const at = (/** @type {number} */ coordinate) => Math.round(coordinate * ratio);
    const [middle, top, bottom] = [at(x), at(Math.min(open, close)), at(Math.max(open, close))];
    const [left, tall] = [middle - Math.floor(width / 2), bottom - top + 1];
    if (visible(wick)) {
      const edge = middle - Math.floor(thin / 2);
      this.fill(wick, edge, at(high), thin, top - at(high));
      this.fill(wick, edge, bottom + 1, thin, at(low) - bottom);
    }
    if (visible(color)) this.fill(color, left, top, width, tall);
    if (visible(border) && border !== color) {
      const sides = Math.max(tall - thin * 2, 0);
      this.fill(border, left, top, width, thin);
      this.fill(border, left, bottom - thin + 1, width, thin);
      this.fill(border, left, top + thin, thin, sides);
      this.fill(border, left + width - thin, top + thin, thin, sides);
    }
  }

  /**
   * @param {Ohlc} bar
   * @param {string} color
   */
  bar({ x, open, high, low, close }, color) {
    const { thin, arm, ratio } = this;
    const at = (/** @type {number} */ coordinate) => Math.round(coordinate * ratio);
    const left = at(x) - Math.floor(thin / 2);
    this.fill(color, left, at(high), thin, at(low) - at(high) + 1);
    this.fill(color, left - arm, at(open), arm, thin);
    this.fill(color, left + thin, at(close), arm, thin);
  }
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
