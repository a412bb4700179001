// plotshape(), plotchar() and plotarrow(): marks at bars.

import { colorsOf } from "./plots.js";
import { visible } from "./scene.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./plots.js").Meta} Meta */
/** @typedef {{left: number, top: number, width: number, height: number}} Bubble */
/** @typedef {(canvas: CanvasRenderingContext2D, x: number, y: number, half: number) => void} Glyph */

/** @type {Record<string, number>} */
const SIZES = { tiny: 8, small: 11, normal: 16, large: 26, huge: 44 };
const AWAY = 4; // from the bar, in pixels
const LABELS = new Set(["labelup", "labeldown"]);
const UP = "#4CAF50";
const DOWN = "#F23645";

/**
 * A path of corners in halves of the size, from the middle.
 * @param {[number, number][]} corners
 * @returns {Glyph}
 */
function polygon(corners) {
  return (canvas, x, y, half) => {
    canvas.beginPath();
    for (const [across, down] of corners) canvas.lineTo(x + across * half, y + down * half);
    canvas.closePath();
    canvas.fill();
  };
}

/**
 * Two strokes.
 * @param {[number, number, number, number][]} strokes
 * @returns {Glyph}
 */
function strokes(strokes) {
  return (canvas, x, y, half) => {
    canvas.lineWidth = Math.max(half / 3, 1.5);
    canvas.strokeStyle = canvas.fillStyle;
    canvas.beginPath();
    for (const [left, top, right, bottom] of strokes) {
      canvas.moveTo(x + left * half, y + top * half);
      canvas.lineTo(x + right * half, y + bottom * half);
    }
    canvas.stroke();
  };
}

/** @type {[number, number][]} */
const ARROW = [[0, -1], [0.9, 0.05], [0.35, 0.05], [0.35, 1], [-0.35, 1], [-0.35, 0.05], [-0.9, 0.05]];
const flipped = (/** @type {[number, number][]} */ corners) =>
  corners.map(([x, y]) => /** @type {[number, number]} */ ([x, -y]));

/** By Pine's name; labels have glyphs of them too, under the same names. @type {Record<string, Glyph>} */
export const GLYPHS = {
  arrowup: polygon(ARROW),
  arrowdown: polygon(flipped(ARROW)),
  triangleup: polygon([[0, -0.9], [1, 0.9], [-1, 0.9]]),
  triangledown: polygon([[0, 0.9], [1, -0.9], [-1, -0.9]]),
  square: polygon([[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]]),
  diamond: polygon([[0, -1], [1, 0], [0, 1], [-1, 0]]),
  flag: polygon([[-0.7, -1], [0.9, -1], [0.5, -0.45], [0.9, 0.1], [-0.45, 0.1], [-0.45, 1], [-0.7, 1]]),
  cross: strokes([[-1, 0, 1, 0], [0, -1, 0, 1]]),
  xcross: strokes([[-0.8, -0.8, 0.8, 0.8], [-0.8, 0.8, 0.8, -0.8]]),
  circle: (canvas, x, y, half) => {
    canvas.beginPath();
    canvas.arc(x, y, half * 0.9, 0, Math.PI * 2);
    canvas.fill();
  },
};

/**
 * A bubble and the point of it, in one path: where they overlap a colour that is not opaque is not twice as strong.
 * @param {CanvasRenderingContext2D} canvas
 * @param {Bubble} box
 * @param {[number, number][] | null} point three corners
 */
export function bubble(canvas, box, point) {
  canvas.beginPath();
  canvas.roundRect(box.left, box.top, box.width, box.height, 3);
  if (point) {
    const [[x, y], [x1, y1], [x2, y2]] = point;
    const clockwise = (x1 - x) * (y2 - y) > (x2 - x) * (y1 - y); // as the rectangle is, else they would cancel out
    canvas.moveTo(x, y);
    for (const [across, down] of clockwise ? point.slice(1) : [point[2], point[1]]) canvas.lineTo(across, down);
    canvas.closePath();
  }
  canvas.fill();
}

/**
 * @param {Scene} scene
 * @param {Meta} meta of kind shape or char
 */
export function drawMarks(scene, meta) {
  const { rows } = scene;
  const offset = meta.offset ?? 0;
  const [first, last] = scene.span(offset, meta.show_last);
  const looks = channels(scene, meta, Math.max(first, 0));
  const absolute = meta.location === "absolute";
  for (let row = first; row <= last; row++) {
    const value = rows.value(meta.id, row);
    if (Number.isNaN(value) || (!absolute && value === 0)) continue;
    const place = scene.placeOf(row);
    const [color, textcolor] = looks(row);
    if (Number.isNaN(place)) continue;
    const mark = new Mark(scene, meta, color, textcolor);
    mark.draw(scene.x(place + offset), place, absolute ? value : null);
  }
}

/**
 * The colours of a mark and of its text, by row.
 * @param {Scene} scene
 * @param {Meta} meta
 * @param {number} first
 * @returns {(row: number) => [string | null, string | null]}
 */
function channels(scene, meta, first) {
  const styles = scene.rows.styles(meta.id, first);
  const still = colorsOf(scene, { ...meta, dynamic: false }, first)(first);
  return (row) => {
    const style = meta.dynamic ? styles(row) : undefined;
    const [color, textcolor] = Array.isArray(style) ? style : [still, meta.textcolor];
    return [color, textcolor ?? (LABELS.has(meta.style) ? "#FFFFFF" : color)];
  };
}

class Mark {
  /**
   * @param {Scene} scene
   * @param {Meta} meta
   * @param {string | null} color
   * @param {string | null} textcolor
   */
  constructor(scene, meta, color, textcolor) {
    this.scene = scene;
    this.meta = meta;
    this.color = color;
    this.textcolor = textcolor;
    this.size = SIZES[meta.size] ?? Math.min(Math.max(scene.spacing * 0.8, 6), 16);
    this.lines = meta.text ? String(meta.text).split("\n") : [];
    this.lineHeight = scene.font(Math.max(Math.min(this.size, 16), 11));
    this.label = LABELS.has(meta.style);
  }

  /** From the bar to its far end. */
  get height() {
    const text = this.lines.length * this.lineHeight;
    return this.label ? Math.max(text, this.size * 0.7) + this.size * 0.4 + 4 : this.size + text;
  }

  /**
   * @param {number} x
   * @param {number} place
   * @param {number | null} value where it is to be, if not at the bar
   */
  draw(x, place, value) {
    const { scene, meta } = this;
    const { bars } = scene.ground;
    if (value !== null) return this.paint(x, scene.y(value), meta.style === "labelup" ? 1 : -1, true);
    const above = meta.location === "abovebar" || meta.location === "bottom";
    const away = above ? -1 : 1;
    const edges = { abovebar: scene.y(bars.high(place)), belowbar: scene.y(bars.low(place)), top: 0, bottom: scene.height };
    const edge = edges[/** @type {keyof typeof edges} */ (meta.location)] ?? NaN;
    const key = place * 4 + Object.keys(edges).indexOf(meta.location);
    const stacked = scene.stacked.get(key) ?? AWAY;
    scene.stacked.set(key, stacked + this.height + 2);
    this.paint(x, edge + away * stacked, away, false);
  }

  /**
   * @param {number} x
   * @param {number} y its end at the bar, or its middle
   * @param {1 | -1} away to which side it grows: 1 is down
   * @param {boolean} centred
   */
  paint(x, y, away, centred) {
    const { canvas } = this.scene;
    if (!Number.isFinite(x + y)) return;
    this.scene.font(Math.max(Math.min(this.size, 16), 11));
    if (this.label) return this.paintLabel(x, y, away);
    const middle = centred ? y : y + away * this.size / 2;
    if (visible(this.color)) {
      canvas.fillStyle = this.color;
      if (this.meta.kind === "char") {
        const height = this.scene.font(this.size + 2);
        this.scene.write([this.meta.char], x, middle, height);
        this.scene.font(Math.max(Math.min(this.size, 16), 11));
      } else GLYPHS[this.meta.style]?.(canvas, x, middle, this.size / 2);
    }
    this.text(x, middle + away * (this.size / 2 + this.lines.length * this.lineHeight / 2));
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  text(x, y) {
    if (!this.lines.length || !visible(this.textcolor)) return;
    this.scene.canvas.fillStyle = this.textcolor;
    this.scene.write(this.lines, x, y, this.lineHeight);
  }

  /**
   * A bubble with its text inside and a point at the bar.
   * @param {number} x
   * @param {number} y
   * @param {1 | -1} away
   */
  paintLabel(x, y, away) {
    const { canvas } = this.scene;
    const point = this.size * 0.4;
    const height = this.height - point;
    const width = Math.max(this.scene.widest(this.lines) + 8, this.size);
    const near = y + away * point;
    if (visible(this.color)) {
      canvas.fillStyle = this.color;
      const box = { left: x - width / 2, top: Math.min(near, near + away * height), width, height };
      bubble(canvas, box, [[x, y], [x + point, near + away], [x - point, near + away]]);
    }
    this.text(x, near + away * height / 2);
  }
}

/**
 * plotarrow(): as long as its value is great among those that are seen.
 * @param {Scene} scene
 * @param {Meta} meta
 */
export function drawArrows(scene, meta) {
  const { rows, canvas, ground } = scene;
  const offset = meta.offset ?? 0;
  const [first, last] = scene.span(offset, meta.show_last);
  const styles = rows.styles(meta.id, Math.max(first, 0));
  let greatest = 0;
  for (let row = first; row <= last; row++) greatest = Math.max(greatest, Math.abs(rows.value(meta.id, row)) || 0);
  for (let row = first; row <= last; row++) {
    const value = rows.value(meta.id, row);
    const place = scene.placeOf(row);
    const dynamic = meta.dynamic ? styles(row) : undefined;
    const [up, down] = Array.isArray(dynamic) ? dynamic : [meta.colorup ?? UP, meta.colordown ?? DOWN];
    const color = value > 0 ? up : down;
    if (!value || Number.isNaN(place) || !visible(color)) continue;
    const [least, most] = [meta.minheight ?? 5, meta.maxheight ?? 100];
    const height = least + (most - least) * Math.abs(value) / greatest;
    const side = value > 0 ? 1 : -1;
    const tip = scene.y(value > 0 ? ground.bars.low(place) : ground.bars.high(place)) + side * AWAY;
    const half = Math.max(Math.min(scene.spacing / 2, height / 2), 3);
    const x = scene.x(place + offset);
    if (!Number.isFinite(tip)) continue;
    canvas.fillStyle = color;
    canvas.beginPath();
    canvas.moveTo(x, tip);
    for (const [across, along] of [[1, 0.45], [0.4, 0.45], [0.4, 1], [-0.4, 1], [-0.4, 0.45], [-1, 0.45]]) {
      canvas.lineTo(x + across * half, tip + side * along * height);
    }
    canvas.fill();
  }
}
