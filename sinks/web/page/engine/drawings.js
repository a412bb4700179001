// What a script draws: lines, the fills between them, boxes and polylines. Labels and tables have files of their own.

import { SIZES, visible } from "./scene.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {Record<string, any>} Fields as PyneCore describes a drawing */
/** @typedef {{x: number, y: number}} At */
/** @typedef {[At, At]} Stroke */

const FAR = 10_000; // pixels beyond the pane: what is said to go on for ever ends there

/**
 * The two ends of a line as it is seen; null if it cannot be placed.
 * @param {Scene} scene
 * @param {Fields} fields
 * @returns {Stroke | null}
 */
function strokeOf(scene, fields) {
  const one = { x: scene.x(scene.place(fields.x1, fields.xloc)), y: scene.y(fields.y1 ?? NaN) };
  const other = { x: scene.x(scene.place(fields.x2, fields.xloc)), y: scene.y(fields.y2 ?? NaN) };
  if (!Number.isFinite(one.x + one.y + other.x + other.y)) return null;
  const [left, right] = one.x <= other.x ? [one, other] : [other, one];
  return [
    fields.extend === "left" || fields.extend === "both" ? beyond(scene, right, left) : left,
    fields.extend === "right" || fields.extend === "both" ? beyond(scene, left, right) : right,
  ];
}

/**
 * From one point through the other, out of the pane.
 * @param {Scene} scene
 * @param {At} from
 * @param {At} to
 * @returns {At}
 */
function beyond(scene, from, to) {
  const [across, down] = [to.x - from.x, to.y - from.y];
  if (!across && !down) return to;
  const reach = (scene.width + scene.height + FAR) / Math.hypot(across, down);
  return { x: to.x + across * reach, y: to.y + down * reach };
}

/**
 * The part of a line that is in the pane, or near it: dashes of a line of a million pixels would take for ever.
 * @param {Scene} scene
 * @param {Stroke} stroke
 * @returns {Stroke | null}
 */
function clipped({ width, height }, [one, other]) {
  const [across, down] = [other.x - one.x, other.y - one.y];
  let [enter, leave] = [0, 1];
  const near = 20;
  for (const [speed, room] of [
    [-across, one.x + near], [across, width + near - one.x], [-down, one.y + near], [down, height + near - one.y],
  ]) {
    if (speed === 0 && room < 0) return null;
    if (speed < 0) enter = Math.max(enter, room / speed);
    if (speed > 0) leave = Math.min(leave, room / speed);
  }
  if (enter > leave) return null;
  const at = (/** @type {number} */ share) => ({ x: one.x + across * share, y: one.y + down * share });
  return [at(enter), at(leave)];
}

/**
 * @param {Scene} scene
 * @param {Fields} fields
 */
export function drawLine(scene, fields) {
  const stroke = strokeOf(scene, fields);
  const seen = stroke && clipped(scene, stroke);
  if (!stroke || !seen || !visible(fields.color)) return;
  const { canvas } = scene;
  const width = fields.width ?? 1;
  canvas.strokeStyle = canvas.fillStyle = fields.color;
  canvas.lineWidth = width;
  canvas.lineCap = "butt";
  scene.dash(fields.style, width);
  const level = stroke[0].y === stroke[1].y ? (width % 2) / 2 : null; // else a thin level line is two pale ones
  canvas.beginPath();
  for (const { x, y } of seen) canvas.lineTo(x, level === null ? y : scene.sharp(y) + level);
  canvas.stroke();
  canvas.setLineDash([]);
  if (fields.style === "arrow_left" || fields.style === "arrow_both") head(canvas, stroke[1], stroke[0], width);
  if (fields.style === "arrow_right" || fields.style === "arrow_both") head(canvas, stroke[0], stroke[1], width);
}

/**
 * @param {CanvasRenderingContext2D} canvas
 * @param {At} from
 * @param {At} to
 * @param {number} width
 */
function head(canvas, from, to, width) {
  const turn = Math.atan2(to.y - from.y, to.x - from.x);
  const size = 6 + width * 2;
  canvas.beginPath();
  canvas.moveTo(to.x, to.y);
  for (const side of [-1, 1]) {
    canvas.lineTo(to.x - size * Math.cos(turn + side * 0.45), to.y - size * Math.sin(turn + side * 0.45));
  }
  canvas.fill();
}

/**
 * @param {Scene} scene
 * @param {Fields} fields
 * @param {(kind: string, id: number) => Fields | undefined} drawn the lines as they are now
 */
export function drawLinefill(scene, fields, drawn) {
  const one = strokeOf(scene, drawn("line", fields.line1) ?? fields.line1_state ?? {});
  const other = strokeOf(scene, drawn("line", fields.line2) ?? fields.line2_state ?? {});
  if (!one || !other || !visible(fields.color)) return;
  scene.canvas.fillStyle = fields.color;
  scene.canvas.beginPath();
  for (const { x, y } of [...one, ...[...other].reverse()]) scene.canvas.lineTo(x, y);
  scene.canvas.fill();
}

/**
 * @param {Scene} scene
 * @param {Fields} fields
 */
export function drawPolyline(scene, fields) {
  const { canvas } = scene;
  const points = fields.points
    .map((/** @type {Fields} */ point) => ({
      x: scene.x(scene.place(fields.xloc === "bar_time" ? point.time : point.index, fields.xloc)),
      y: scene.y(point.price ?? NaN),
    }))
    .filter((/** @type {At} */ { x, y }) => Number.isFinite(x + y));
  if (points.length < 2) return;
  canvas.beginPath();
  if (fields.curved) curve(canvas, points, fields.closed);
  else for (const { x, y } of points) canvas.lineTo(x, y);
  if (fields.closed) canvas.closePath();
  if (visible(fields.fill_color)) {
    canvas.fillStyle = fields.fill_color;
    canvas.fill();
  }
  if (!visible(fields.line_color)) return;
  canvas.strokeStyle = fields.line_color;
  canvas.lineWidth = fields.line_width ?? 1;
  canvas.lineJoin = "round";
  scene.dash(fields.line_style, canvas.lineWidth);
  canvas.stroke();
  canvas.setLineDash([]);
}

/**
 * A smooth way through all points (Catmull and Rom's).
 * @param {CanvasRenderingContext2D} canvas
 * @param {At[]} points
 * @param {boolean} closed
 */
function curve(canvas, points, closed) {
  const count = points.length;
  const at = (/** @type {number} */ place) =>
    points[closed ? (place + count) % count : Math.min(Math.max(place, 0), count - 1)];
  canvas.moveTo(points[0].x, points[0].y);
  for (let place = 0; place < (closed ? count : count - 1); place++) {
    const [before, from, to, after] = [at(place - 1), at(place), at(place + 1), at(place + 2)];
    canvas.bezierCurveTo(
      from.x + (to.x - before.x) / 6, from.y + (to.y - before.y) / 6,
      to.x - (after.x - from.x) / 6, to.y - (after.y - from.y) / 6, to.x, to.y,
    );
  }
}

/**
 * @param {Scene} scene
 * @param {Fields} fields
 */
export function drawBox(scene, fields) {
  const sides = [fields.left, fields.right].map((x) => scene.x(scene.place(x, fields.xloc))).sort((a, b) => a - b);
  const [top, bottom] = [fields.top, fields.bottom].map((y) => scene.y(y ?? NaN)).sort((a, b) => a - b);
  if (!Number.isFinite(sides[0] + sides[1] + top + bottom)) return;
  const edge = 10; // a border beyond the pane is not seen
  const left = Math.max(fields.extend === "left" || fields.extend === "both" ? -edge : sides[0], -FAR);
  const right = Math.min(fields.extend === "right" || fields.extend === "both" ? scene.width + edge : sides[1], FAR * 2);
  if (right < -edge || left > scene.width + edge) return;
  const frame = { left: scene.sharp(left), top: scene.sharp(top), right: scene.sharp(right), bottom: scene.sharp(bottom) };
  const { canvas } = scene;
  if (visible(fields.bgcolor)) {
    canvas.fillStyle = fields.bgcolor;
    canvas.fillRect(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top);
  }
  const width = fields.border_width ?? 1;
  if (width && visible(fields.border_color)) {
    canvas.strokeStyle = fields.border_color;
    canvas.lineWidth = width;
    scene.dash(fields.border_style, width);
    const half = (width % 2) / 2;
    canvas.strokeRect(frame.left + half, frame.top + half, frame.right - frame.left, frame.bottom - frame.top);
    canvas.setLineDash([]);
  }
  if (fields.text && visible(fields.text_color)) boxText(scene, fields, frame);
}

/**
 * @param {Scene} scene
 * @param {Fields} fields
 * @param {{left: number, top: number, right: number, bottom: number}} frame
 */
function boxText(scene, fields, frame) {
  const room = { width: frame.right - frame.left - 8, height: frame.bottom - frame.top - 8 };
  const fits = fields.text_size === "auto" || !fields.text_size;
  const lines = (/** @type {number} */ size) => {
    scene.font(size, fields.text_font_family, fields.text_formatting);
    const said = String(fields.text).split("\n");
    return fields.text_wrap === "auto" ? said.flatMap((line) => wrapped(scene, line, room.width)) : said;
  };
  let size = fits ? SIZES.huge : typeof fields.text_size === "number" ? fields.text_size : SIZES[fields.text_size];
  while (fits && size > 6 && (scene.widest(lines(size)) > room.width || lines(size).length * size * 1.25 > room.height)) {
    size -= 2;
  }
  const text = lines(size);
  const height = scene.font(size, fields.text_font_family, fields.text_formatting);
  const tall = text.length * height;
  const x = place(fields.text_halign, "left", frame.left + 4, "right", frame.right - 4);
  const y = place(fields.text_valign, "top", frame.top + 4 + tall / 2, "bottom", frame.bottom - 4 - tall / 2);
  scene.canvas.fillStyle = fields.text_color;
  scene.write(text, x, y, height, alignOf(fields.text_halign));
}

/**
 * @param {string} align
 * @param {string} low
 * @param {number} lowAt
 * @param {string} high
 * @param {number} highAt
 */
function place(align, low, lowAt, high, highAt) {
  return align === low ? lowAt : align === high ? highAt : (lowAt + highAt) / 2;
}

/**
 * @param {unknown} align
 * @returns {CanvasTextAlign}
 */
export function alignOf(align) {
  return align === "left" || align === "right" ? align : "center";
}

/**
 * A line of text in lines that are no wider, where it can be broken at spaces.
 * @param {Scene} scene
 * @param {string} text
 * @param {number} width
 * @returns {string[]}
 */
function wrapped(scene, text, width) {
  /** @type {string[]} */
  const lines = [];
  for (const word of text.split(" ")) {
    const last = lines.length - 1;
    if (last >= 0 && scene.widest([`${lines[last]} ${word}`]) <= width) lines[last] += ` ${word}`;
    else lines.push(word);
  }
  return lines;
}
