// What lies beneath the candles: bgcolor(), and fill() between two plots or two levels.

import { colorsOf } from "./plots.js";
import { visible } from "./scene.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./plots.js").Meta} Meta */
/** @typedef {string | [number | null, number | null, string | null, string | null] | null} Paint a colour, or a gradient */
/** @typedef {{x: number, top: number, bottom: number, paint: Paint}} Slice `top` and `bottom` are the two edges */

const PALE_BLUE = "#2962FF33";

/**
 * @param {Scene} scene
 * @param {Meta} meta
 */
export function drawBackground(scene, meta) {
  const offset = meta.offset ?? 0;
  const [first, last] = scene.span(offset, meta.show_last);
  const styles = scene.rows.styles(meta.id, Math.max(first, 0));
  /** @type {[number, number, string] | null} */
  let stripe = null; // neighbours of one colour are one stripe: no seams
  const paint = () => {
    if (!stripe) return;
    const [from, to, color] = stripe;
    const left = scene.sharp(scene.x(from - 0.5));
    scene.canvas.fillStyle = color;
    scene.canvas.fillRect(left, 0, scene.sharp(scene.x(to + 0.5)) - left, scene.height);
  };
  for (let row = first; row <= last; row++) {
    const place = scene.placeOf(row) + offset;
    const color = styles(row);
    if (stripe && color === stripe[2] && place === stripe[1] + 1) stripe[1] = place;
    else if (!Number.isNaN(place)) {
      paint();
      stripe = visible(color) ? [place, place, color] : null;
    }
  }
  paint();
}

/**
 * @param {Scene} scene
 * @param {Meta} meta
 * @param {Map<string, Meta>} metas of which are the plots or the levels between which it is
 */
export function drawFill(scene, meta, metas) {
  if (meta.hline1 !== undefined) return drawCorridor(scene, meta, metas);
  const one = metas.get(meta.plot1);
  const other = metas.get(meta.plot2);
  if (!one || !other) return;
  const offset = one.offset ?? 0;
  const { rows } = scene;
  const [first, last] = scene.span(offset, meta.show_last);
  if (last < first) return;
  const paints = /** @type {(row: number) => Paint} */ (colorsOf(scene, meta, first, PALE_BLUE));
  /** @type {Slice[]} */
  let slices = [];
  for (let row = first; row <= last; row++) {
    const [top, bottom] = [rows.value(one.id, row), rows.value(other.id, row)];
    const paint = paints(row);
    const x = scene.x(scene.placeOf(row) + offset);
    if (Number.isNaN(top + bottom)) {
      if (meta.fillgaps) continue;
      paintSlices(scene, slices);
      slices = [];
    } else if (!Number.isNaN(x)) {
      const slice = { x, top: scene.y(top), bottom: scene.y(bottom), paint };
      if (slices.length > 1 && !same(slices[slices.length - 1].paint, paint)) {
        paintSlices(scene, slices);
        slices = [slices[slices.length - 1]];
      }
      slices.push(slice);
    }
  }
  paintSlices(scene, slices);
}

/**
 * Two gradients that say the same are one.
 * @param {Paint} one
 * @param {Paint} other
 */
function same(one, other) {
  if (one === other) return true;
  return Array.isArray(one) && Array.isArray(other) && one.every((part, number) => part === other[number]);
}

/**
 * One piece of the area, in the colour of its last bar.
 * @param {Scene} scene
 * @param {Slice[]} slices
 */
function paintSlices(scene, slices) {
  const { canvas } = scene;
  const paint = slices[slices.length - 1]?.paint;
  const style = Array.isArray(paint) ? gradient(scene, paint) : visible(paint) ? paint : null;
  if (slices.length < 2 || style === null) return;
  canvas.fillStyle = style;
  canvas.beginPath();
  for (const { x, top } of slices) canvas.lineTo(x, top);
  for (const { x, bottom } of [...slices].reverse()) canvas.lineTo(x, bottom);
  canvas.fill();
}

/**
 * @param {Scene} scene
 * @param {[number | null, number | null, string | null, string | null]} paint
 */
function gradient(scene, [topValue, bottomValue, topColor, bottomColor]) {
  if (topValue === null || bottomValue === null) return null;
  const [top, bottom] = [scene.y(topValue), scene.y(bottomValue)];
  if (!Number.isFinite(top + bottom)) return null;
  const style = scene.canvas.createLinearGradient(0, top, 0, bottom);
  style.addColorStop(0, topColor ?? "transparent");
  style.addColorStop(1, bottomColor ?? "transparent");
  return style;
}

/**
 * Between two levels, all the way across if its colour never changes.
 * @param {Scene} scene
 * @param {Meta} meta
 * @param {Map<string, Meta>} metas
 */
function drawCorridor(scene, meta, metas) {
  const [top, bottom] = [meta.hline1, meta.hline2].map((id) => scene.y(metas.get(id)?.price ?? NaN));
  const { canvas } = scene;
  if (Number.isNaN(top + bottom)) return;
  const [first, last] = scene.span(0, null);
  const colors = colorsOf(scene, meta, Math.max(first, 0), PALE_BLUE);
  const paint = (/** @type {number} */ from, /** @type {number} */ to, /** @type {string | null} */ color) => {
    if (!visible(color)) return;
    canvas.fillStyle = color;
    canvas.fillRect(from, Math.min(top, bottom), to - from, Math.abs(bottom - top));
  };
  let [from, color] = [0, colors(first)];
  for (let row = first + 1; row <= last; row++) {
    if (colors(row) === color) continue;
    const edge = scene.x(scene.placeOf(row) - 0.5);
    if (Number.isNaN(edge)) continue;
    paint(from, edge, color);
    [from, color] = [edge, colors(row)];
  }
  paint(from, scene.width, color);
}
