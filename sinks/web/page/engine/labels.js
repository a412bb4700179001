// label.new(): bubbles that point at a place, and marks with a text.

import { alignOf } from "./drawings.js";
import { GLYPHS, bubble } from "./marks.js";
import { SIZES, visible } from "./scene.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./drawings.js").Fields} Fields */
/** @typedef {import("./marks.js").Bubble} Bubble */

/** Where a bubble is from its point, in halves of its size: across, down. @type {Record<string, [number, number]>} */
const BUBBLES = {
  label_down: [0, -1], label_up: [0, 1], label_left: [1, 0], label_right: [-1, 0], label_center: [0, 0],
  label_lower_left: [1, -1], label_lower_right: [-1, -1], label_upper_left: [1, 1], label_upper_right: [-1, 1],
};
const AROUND = new Set(["circle", "square", "diamond"]); // their text is inside
const POINT = 6;
const CLOSE = 4; // from a bar, in pixels

/**
 * @param {Scene} scene
 * @param {Fields} fields
 */
export function drawLabel(scene, fields) {
  const place = scene.place(fields.x, fields.xloc);
  const x = scene.x(place);
  const y = heightOf(scene, fields, place);
  if (!Number.isFinite(x + y) || x < -500 || x > scene.width + 500) return;
  const lines = fields.text ? String(fields.text).split("\n") : [];
  const height = scene.font(fields.size, fields.text_font_family, fields.text_formatting);
  const side = BUBBLES[fields.style];
  const spot = side ? drawBubble(scene, fields, side, x, y, lines, height) : drawGlyph(scene, fields, x, y, lines, height);
  if (fields.tooltip) {
    const { left, top } = spot;
    scene.spots.push({ left, top, right: left + spot.width, bottom: top + spot.height, tip: fields.tooltip });
  }
}

/**
 * @param {Scene} scene
 * @param {Fields} fields
 * @param {number} place
 */
function heightOf(scene, fields, place) {
  if (fields.yloc === "price") return scene.y(fields.y ?? NaN);
  const { bars } = scene.ground;
  if (!(place >= 0 && place < bars.length)) return NaN;
  const above = fields.yloc === "abovebar";
  const glyph = fields.style in BUBBLES ? 0 : (SIZES[fields.size] ?? SIZES.normal) / 2;
  return above ? scene.y(bars.high(place)) - CLOSE - glyph : scene.y(bars.low(place)) + CLOSE + glyph;
}

/**
 * @param {Scene} scene
 * @param {Fields} fields
 * @param {[number, number]} side
 * @param {number} x
 * @param {number} y
 * @param {string[]} lines
 * @param {number} lineHeight
 * @returns {Bubble}
 */
function drawBubble(scene, fields, [across, down], x, y, lines, lineHeight) {
  const { canvas } = scene;
  const width = Math.max(scene.widest(lines) + 10, 14);
  const height = Math.max(lines.length * lineHeight + 4, 10);
  const corner = across !== 0 && down !== 0;
  const away = corner ? 0 : POINT;
  const left = x + across * (width / 2 + away) - width / 2;
  const top = y + down * (height / 2 + (corner ? POINT : away)) - height / 2;
  if (visible(fields.color)) {
    canvas.fillStyle = fields.color;
    bubble(canvas, { left, top, width, height }, across || down ? pointer(x, y, across, down) : null);
  }
  inside(scene, fields, lines, { left, top, width, height }, lineHeight);
  return { left, top, width, height };
}

/**
 * The bubble's point: its tip, and where it leaves the bubble.
 * @param {number} x
 * @param {number} y
 * @param {number} across
 * @param {number} down
 * @returns {[number, number][]}
 */
function pointer(x, y, across, down) {
  const into = POINT + 1;
  if (across && down) return [[x, y], [x, y + down * into], [x + across * POINT * 1.5, y + down * into]];
  if (across) return [[x, y], [x + across * into, y - POINT * 0.8], [x + across * into, y + POINT * 0.8]];
  return [[x, y], [x - POINT * 0.8, y + down * into], [x + POINT * 0.8, y + down * into]];
}

/**
 * @param {Scene} scene
 * @param {Fields} fields
 * @param {string[]} lines
 * @param {Bubble} bubble
 * @param {number} lineHeight
 */
function inside(scene, fields, lines, { left, top, width, height }, lineHeight) {
  if (!lines.length || !visible(fields.textcolor)) return;
  const align = alignOf(fields.textalign);
  const x = align === "left" ? left + 5 : align === "right" ? left + width - 5 : left + width / 2;
  scene.canvas.fillStyle = fields.textcolor;
  scene.write(lines, x, top + height / 2, lineHeight, align);
}

/**
 * A mark in the middle of its place; its text below, above what points down, inside of what is closed.
 * @param {Scene} scene
 * @param {Fields} fields
 * @param {number} x
 * @param {number} y
 * @param {string[]} lines
 * @param {number} lineHeight
 * @returns {Bubble}
 */
function drawGlyph(scene, fields, x, y, lines, lineHeight) {
  const { canvas } = scene;
  const [width, height] = [scene.widest(lines), lines.length * lineHeight];
  const around = AROUND.has(fields.style);
  const size = SIZES[fields.size] ?? SIZES.normal;
  const half = Math.max(size / 2, around && lines.length ? Math.max(width, height) / 2 + 3 : 0);
  const glyph = GLYPHS[fields.style];
  if (glyph && visible(fields.color)) {
    canvas.fillStyle = fields.color;
    glyph(canvas, x, y, half);
  }
  const away = around || !glyph ? 0 : (fields.style.endsWith("down") ? -1 : 1) * (half + height / 2);
  const box = { left: x - width / 2, top: y + away - height / 2, width, height };
  if (fields.style === "text_outline" && visible(fields.color)) {
    canvas.strokeStyle = fields.color;
    canvas.lineWidth = 4;
    canvas.lineJoin = "round";
    canvas.textAlign = "center";
    canvas.textBaseline = "middle";
    lines.forEach((line, number) => canvas.strokeText(line, x, y + (number - (lines.length - 1) / 2) * lineHeight));
  }
  inside(scene, { ...fields, textalign: "center" }, lines, box, lineHeight);
  const reach = Math.max(half, width / 2);
  return { left: x - reach, top: Math.min(y - half, box.top), width: reach * 2, height: half * 2 + Math.abs(away) };
}
