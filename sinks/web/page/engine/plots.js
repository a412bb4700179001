// plot() in its styles, and hline().

import { visible } from "./scene.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {Record<string, any>} Meta how PyneCore describes a plot */
/** @typedef {{row: number, x: number, y: number, color: string | null, gap: boolean}} Point `gap`: na is before it */

export const BLUE = "#2962FF";
const GRAY = "#787B86";
const BREAKS = new Set(["linebr", "steplinebr", "areabr"]);
const MARKS = new Set(["circles", "cross"]);
const COLUMN = 0.7; // of the way to the next bar

/**
 * A plot's colour by row: the dynamic one, else the one that it was described with, else Pine's default.
 * @param {Scene} scene
 * @param {Meta} meta
 * @param {number} first
 * @param {string} [fallback]
 * @returns {(row: number) => string | null}
 */
export function colorsOf(scene, meta, first, fallback = BLUE) {
  const still = meta.color ?? (meta.dynamic ? null : fallback);
  if (!meta.dynamic) return () => still;
  const styles = scene.rows.styles(meta.id, first);
  return (row) => {
    const style = styles(row);
    return style === undefined ? still : style;
  };
}

/**
 * The points of a plot that are seen, and those next to them.
 * @param {Scene} scene
 * @param {Meta} meta
 * @returns {Point[]}
 */
function pointsOf(scene, meta) {
  const { rows } = scene;
  const offset = meta.offset ?? 0;
  let [first, last] = scene.span(offset, meta.show_last);
  if (last < first) return [];
  const start = meta.show_last ? Math.max(rows.length - meta.show_last, 0) : 0;
  if (!BREAKS.has(meta.style) && !MARKS.has(meta.style)) {
    while (first > start && Number.isNaN(rows.value(meta.id, first))) first--; // a line comes from beyond the edge
    while (last < rows.length - 1 && Number.isNaN(rows.value(meta.id, last))) last++;
  }
  const color = colorsOf(scene, meta, first);
  /** @type {Point[]} */
  const points = [];
  let gap = true;
  for (let row = first; row <= last; row++) {
    const value = rows.value(meta.id, row);
    const place = scene.placeOf(row);
    const colored = color(row);
    if (Number.isNaN(value)) gap = true;
    else if (!Number.isNaN(place)) {
      points.push({ row, x: scene.x(place + offset), y: scene.y(value), color: colored, gap });
      gap = false;
    }
  }
  return points;
}

/**
 * @param {Scene} scene
 * @param {Meta} meta
 */
export function drawPlot(scene, meta) {
  const points = pointsOf(scene, meta);
  const width = meta.linewidth ?? 1;
  const base = scene.y(meta.histbase ?? 0);
  switch (meta.style) {
    case "histogram":
    case "columns":
      bars(scene, points, base, meta.style === "columns" ? Math.max(scene.spacing * COLUMN, 1) : width);
      break;
    case "circles":
    case "cross":
      if (meta.join) line(scene, points, 1, false, false);
      marks(scene, points, width, meta.style === "cross");
      break;
    case "area":
    case "areabr":
      area(scene, points, base, meta.style === "areabr");
      line(scene, points, width, meta.style === "areabr", false);
      break;
    default:
      line(scene, points, width, BREAKS.has(meta.style), meta.style.startsWith("step"));
      if (meta.style === "stepline_diamond") diamonds(scene, points, width);
  }
  if (meta.trackprice) track(scene, meta);
}

/**
 * A line, of as many paths as it changes its colour; a piece has the colour of the bar that it leads to.
 * @param {Scene} scene
 * @param {Point[]} points
 * @param {number} width
 * @param {boolean} breaks whether na interrupts it
 * @param {boolean} steps
 */
function line(scene, points, width, breaks, steps) {
  const { canvas } = scene;
  canvas.lineWidth = width;
  canvas.lineJoin = "round";
  canvas.lineCap = "butt";
  const level = (/** @type {number} */ y) => steps ? scene.sharp(y) + (width % 2) / 2 : y; // steps are sharp
  /** @type {string | null} */
  let color = null;
  points.forEach((point, number) => {
    const before = points[number - 1];
    const broken = !before || (breaks && point.gap);
    if (color !== null && (broken || point.color !== color)) {
      canvas.stroke();
      color = null;
    }
    if (broken || !visible(point.color)) return;
    if (color === null) {
      color = canvas.strokeStyle = point.color;
      color = point.color;
      canvas.beginPath();
      canvas.moveTo(before.x, level(before.y));
    }
    if (steps) canvas.lineTo(point.x, level(before.y));
    canvas.lineTo(point.x, level(point.y));
  });
  if (color !== null) canvas.stroke();
  alone(scene, points, width, breaks);
}

/**
 * A point between two na is a dot: no line leads to it.
 * @param {Scene} scene
 * @param {Point[]} points
 * @param {number} width
 * @param {boolean} breaks
 */
function alone(scene, points, width, breaks) {
  if (!breaks) return;
  points.forEach((point, number) => {
    const after = points[number + 1];
    if (!point.gap || (after && !after.gap) || !visible(point.color)) return;
    scene.canvas.fillStyle = point.color;
    scene.canvas.fillRect(point.x - width / 2, point.y - width / 2, width, width);
  });
}

/**
 * @param {Scene} scene
 * @param {Point[]} points
 * @param {number} base
 * @param {number} width
 */
function bars(scene, points, base, width) {
  for (const { x, y, color } of points) {
    if (!visible(color)) continue;
    scene.canvas.fillStyle = color;
    const left = scene.sharp(x - width / 2);
    const [top, bottom] = [scene.sharp(Math.min(y, base)), scene.sharp(Math.max(y, base))];
    const wide = Math.max(scene.sharp(width), 1 / scene.ratio);
    scene.canvas.fillRect(left, top, wide, Math.max(bottom - top, 1 / scene.ratio));
  }
}

/**
 * @param {Scene} scene
 * @param {Point[]} points
 * @param {number} base
 * @param {boolean} breaks
 */
function area(scene, points, base, breaks) {
  const { canvas } = scene;
  /** @type {Point[]} */
  let run = [];
  const close = () => {
    const color = run[run.length - 1]?.color;
    if (run.length > 1 && visible(color)) {
      canvas.fillStyle = color;
      canvas.beginPath();
      canvas.moveTo(run[0].x, base);
      for (const { x, y } of run) canvas.lineTo(x, y);
      canvas.lineTo(run[run.length - 1].x, base);
      canvas.fill();
    }
  };
  points.forEach((point, number) => {
    const broken = breaks && point.gap;
    if (broken || (run.length > 1 && point.color !== run[run.length - 1].color)) {
      close();
      run = broken ? [] : [points[number - 1]];
    }
    run.push(point);
  });
  close();
}

/**
 * @param {Scene} scene
 * @param {Point[]} points
 * @param {number} width
 * @param {boolean} crosses
 */
function marks(scene, points, width, crosses) {
  const { canvas } = scene;
  const reach = width + 1;
  for (const { x, y, color } of points) {
    if (!visible(color)) continue;
    canvas.fillStyle = color;
    if (crosses) {
      canvas.fillRect(x - reach, y - width / 4, reach * 2, width / 2);
      canvas.fillRect(x - width / 4, y - reach, width / 2, reach * 2);
    } else {
      canvas.beginPath();
      canvas.arc(x, y, width, 0, Math.PI * 2);
      canvas.fill();
    }
  }
}

/**
 * Where a line steps.
 * @param {Scene} scene
 * @param {Point[]} points
 * @param {number} width
 */
function diamonds(scene, points, width) {
  const { canvas } = scene;
  const reach = width + 2;
  points.forEach(({ x, y, color }, number) => {
    if (!visible(color) || points[number - 1]?.y === y) return;
    canvas.fillStyle = color;
    canvas.beginPath();
    canvas.moveTo(x, y - reach);
    canvas.lineTo(x + reach, y);
    canvas.lineTo(x, y + reach);
    canvas.lineTo(x - reach, y);
    canvas.fill();
  });
}

/**
 * The last value of a plot that is not na, and its colour.
 * @param {import("./rows.js").Rows} rows
 * @param {Meta} meta
 * @returns {{value: number, color: string | null} | null}
 */
export function lastOf(rows, meta) {
  for (let row = rows.length - 1; row >= 0; row--) {
    const value = rows.value(meta.id, row);
    if (Number.isNaN(value)) continue;
    const style = meta.dynamic ? rows.styles(meta.id, row)(row) : undefined;
    return { value, color: style === undefined ? meta.color ?? (meta.dynamic ? null : BLUE) : style };
  }
  return null;
}

/**
 * @param {Scene} scene
 * @param {Meta} meta
 */
function track(scene, meta) {
  const last = lastOf(scene.rows, meta);
  if (last && visible(last.color)) level(scene, scene.y(last.value), last.color, 1, "dotted");
}

/**
 * @param {Scene} scene
 * @param {Meta} meta
 */
export function drawHline(scene, meta) {
  const color = meta.color ?? GRAY;
  if (visible(color)) level(scene, scene.y(meta.price), color, meta.linewidth ?? 1, meta.linestyle);
}

/**
 * A line across the pane.
 * @param {Scene} scene
 * @param {number} y
 * @param {string} color
 * @param {number} width
 * @param {string} dash
 */
function level(scene, y, color, width, dash) {
  const { canvas } = scene;
  canvas.strokeStyle = color;
  canvas.lineWidth = width;
  scene.dash(dash, width);
  canvas.beginPath();
  const at = scene.sharp(y) + (width % 2) / 2;
  canvas.moveTo(0, at);
  canvas.lineTo(scene.width, at);
  canvas.stroke();
  canvas.setLineDash([]);
}
