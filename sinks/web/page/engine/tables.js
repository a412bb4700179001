// table.new(): cells at one of nine places of the pane, which stay where they are when the chart moves.

import { alignOf } from "./drawings.js";
import { visible } from "./scene.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./drawings.js").Fields} Fields */
/** @typedef {{cell: Fields, lines: string[], lineHeight: number, col: number, row: number, cols: number, rows: number,
 *   width: number, height: number}} Cell `cols` and `rows` are how many it covers */

const PADDING = 4;
const MARGIN = 4;

/**
 * @param {Scene} scene
 * @param {Fields} fields
 */
export function drawTable(scene, fields) {
  const cells = (fields.cells ?? []).flatMap((/** @type {Fields} */ cell) => measured(scene, cell) ?? []);
  if (!cells.length) return;
  const border = visible(fields.border_color) ? fields.border_width ?? 0 : 0;
  const frame = visible(fields.frame_color) ? fields.frame_width ?? 0 : 0;
  const widths = extents(cells, "col", "cols", "width", border);
  const heights = extents(cells, "row", "rows", "height", border);
  const width = sum(widths) + border * (widths.length - 1) + frame * 2;
  const height = sum(heights) + border * (heights.length - 1) + frame * 2;
  const [left, top] = corner(scene, fields.position ?? "", width, height);
  const { canvas } = scene;
  if (visible(fields.bgcolor)) {
    canvas.fillStyle = fields.bgcolor;
    canvas.fillRect(left, top, width, height);
  }
  for (const cell of cells) {
    const x = left + frame + sum(widths.slice(0, cell.col)) + border * cell.col;
    const y = top + frame + sum(heights.slice(0, cell.row)) + border * cell.row;
    const wide = sum(widths.slice(cell.col, cell.col + cell.cols)) + border * (cell.cols - 1);
    const tall = sum(heights.slice(cell.row, cell.row + cell.rows)) + border * (cell.rows - 1);
    drawCell(scene, cell, x, y, wide, tall);
    if (border) edge(canvas, fields.border_color, border, x, y, wide, tall);
  }
  if (frame) edge(canvas, fields.frame_color, frame, left + frame, top + frame, width - frame * 2, height - frame * 2);
}

/**
 * How much room a cell needs; null for one that is covered by a merged one.
 * @param {Scene} scene
 * @param {Fields} cell
 * @returns {Cell | null}
 */
function measured(scene, cell) {
  const [left, top, right, bottom] = cell.merge ?? [cell.col, cell.row, cell.col, cell.row];
  if (cell.col !== left || cell.row !== top) return null;
  const lines = String(cell.text ?? "").split("\n");
  const lineHeight = scene.font(cell.text_size, cell.text_font_family, cell.text_formatting);
  return {
    cell, lines, lineHeight, col: left, row: top, cols: right - left + 1, rows: bottom - top + 1,
    width: cell.width ? cell.width * scene.width / 100 : Math.ceil(scene.widest(lines)) + PADDING * 2,
    height: cell.height ? cell.height * scene.height / 100 : lines.length * lineHeight + PADDING,
  };
}

/**
 * The widths of all columns, or the heights of all rows: of the cells in them, then of those that cover several.
 * @param {Cell[]} cells
 * @param {"col" | "row"} at
 * @param {"cols" | "rows"} count
 * @param {"width" | "height"} extent
 * @param {number} border
 */
function extents(cells, at, count, extent, border) {
  /** @type {number[]} */
  const sizes = new Array(Math.max(...cells.map((cell) => cell[at] + cell[count]))).fill(0);
  for (const cell of [...cells].sort((one, other) => one[count] - other[count])) {
    const covered = sizes.slice(cell[at], cell[at] + cell[count]);
    const missing = cell[extent] - sum(covered) - border * (cell[count] - 1);
    covered.forEach((size, number) => {
      sizes[cell[at] + number] = size + Math.max(missing, 0) / cell[count];
    });
  }
  return sizes.map(Math.ceil);
}

/** @param {number[]} numbers */
function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}

/**
 * @param {Scene} scene
 * @param {string} position Pine's: `top_right`
 * @param {number} width
 * @param {number} height
 */
function corner(scene, position, width, height) {
  const [vertical, horizontal] = position.split("_");
  const left = horizontal === "left" ? MARGIN : horizontal === "right" ? scene.width - width - MARGIN : (scene.width - width) / 2;
  const top = vertical === "top" ? MARGIN : vertical === "bottom" ? scene.height - height - MARGIN : (scene.height - height) / 2;
  return [Math.round(left), Math.round(top)];
}

/**
 * @param {Scene} scene
 * @param {Cell} measured
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 */
function drawCell(scene, { cell, lines, lineHeight }, x, y, width, height) {
  const { canvas } = scene;
  if (visible(cell.bgcolor)) {
    canvas.fillStyle = cell.bgcolor;
    canvas.fillRect(x, y, width, height);
  }
  if (visible(cell.text_color)) {
    const align = alignOf(cell.text_halign);
    const tall = lines.length * lineHeight;
    const at = align === "left" ? x + PADDING : align === "right" ? x + width - PADDING : x + width / 2;
    const middle = cell.text_valign === "top" ? y + PADDING / 2 + tall / 2
      : cell.text_valign === "bottom" ? y + height - PADDING / 2 - tall / 2 : y + height / 2;
    canvas.fillStyle = cell.text_color;
    scene.font(cell.text_size, cell.text_font_family, cell.text_formatting);
    scene.write(lines, at, middle, lineHeight, align);
  }
  if (cell.tooltip) scene.spots.push({ left: x, top: y, right: x + width, bottom: y + height, tip: cell.tooltip });
}

/**
 * Around a rectangle, outside of it.
 * @param {CanvasRenderingContext2D} canvas
 * @param {string} color
 * @param {number} thick
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 */
function edge(canvas, color, thick, x, y, width, height) {
  canvas.strokeStyle = color;
  canvas.lineWidth = thick;
  canvas.strokeRect(x - thick / 2, y - thick / 2, width + thick, height + thick);
}
