// One pane at one moment: where a bar and a price are on it, and what is used to paint there.

/** @typedef {import("./rows.js").Rows} Rows */
/** @typedef {import("lightweight-charts").ISeriesApi<import("lightweight-charts").SeriesType>} Series */
/**
 * The chart's bars, what is forming as the last of them; a bar's place among them is the engine's logical index.
 * @typedef {object} Bars
 * @property {number} length
 * @property {(place: number) => number} time
 * @property {(place: number) => number} open
 * @property {(place: number) => number} high
 * @property {(place: number) => number} low
 * @property {(place: number) => number} close
 * @property {(time: number) => number} indexOf the last bar at or before, -1 if there is none
 */
/**
 * What a study stands on; engine/chart.js gives it.
 * @typedef {object} Ground
 * @property {any} library lightweight-charts itself
 * @property {import("lightweight-charts").IChartApi} api
 * @property {Series} main the closed candles
 * @property {Bars} bars
 * @property {number} timeframeMs
 * @property {number} digits of a price
 * @property {boolean} dark
 * @property {(heard: () => void) => (() => void) | void} onFrame
 */
/** @typedef {{left: number, top: number, right: number, bottom: number, tip: string}} Spot */

/** @type {Record<string, number>} */
export const SIZES = { auto: 12, tiny: 8, small: 10, normal: 14, large: 20, huge: 36 };
const FONT = "-apple-system, BlinkMacSystemFont, 'Trebuchet MS', Roboto, Ubuntu, sans-serif";
const MONOSPACE = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace";

export class Scene {
  /**
   * @param {CanvasRenderingContext2D} canvas
   * @param {{width: number, height: number}} size
   * @param {Ground} ground
   * @param {Series} series whose price scale counts
   * @param {Rows} rows
   * @param {[number, number] | null} anchor a bar's time and its bar_index, where no rows say it
   */
  constructor(canvas, size, ground, series, rows, anchor) {
    this.canvas = canvas;
    this.width = size.width;
    this.height = size.height;
    this.ground = ground;
    this.rows = rows;
    this.anchor = anchor;
    this.ratio = window.devicePixelRatio || 1;
    const scale = ground.api.timeScale();
    const [origin, next] = [0, 1].map((place) => scale.logicalToCoordinate(/** @type {any} */ (place)) ?? NaN);
    /** Between two bars, in pixels. */
    this.spacing = next - origin;
    this.origin = origin - shiftOf(ground) * this.spacing;
    this.y = priceToY(series, size.height);
    this.first = -this.origin / this.spacing;
    this.last = this.first + size.width / this.spacing;
    /** By row its bar's place, once it was looked for. @type {Map<number, number>} */
    this.places = new Map();
    /** What hovering shows a text at. @type {Spot[]} */
    this.spots = [];
    /** What stands above and below a bar already, in pixels. @type {Map<number, number>} */
    this.stacked = new Map();
  }

  /** @param {number} place a logical index */
  x(place) {
    return this.origin + place * this.spacing;
  }

  /**
   * The rows that are to be painted when plots are shifted by some bars.
   * @param {number} offset
   * @param {number | null | undefined} showLast
   * @returns {[number, number]} the first and the last; none if the last is before the first
   */
  span(offset, showLast) {
    const { bars } = this.ground;
    if (!this.rows.length || !bars.length || !Number.isFinite(this.spacing)) return [0, -1];
    const place = (/** @type {number} */ at) => Math.min(Math.max(Math.floor(at), 0), bars.length - 1);
    const first = Math.max(this.rows.rowAt(bars.time(place(this.first - offset)) - 1), 0);
    const last = Math.min(this.rows.rowAt(bars.time(place(this.last - offset + 1))) + 1, this.rows.length - 1);
    return [showLast ? Math.max(first, this.rows.length - showLast) : first, last];
  }

  /**
   * The bar of a row, NaN where the chart has none.
   * @param {number} row
   */
  placeOf(row) {
    const known = this.places.get(row);
    if (known !== undefined) return known;
    const time = this.rows.time(row);
    const found = this.ground.bars.indexOf(time);
    const place = found >= 0 && this.ground.bars.time(found) === time ? found : NaN;
    this.places.set(row, place);
    return place;
  }

  /**
   * Where a drawing's x is.
   * @param {number | null | undefined} value a bar_index, or a time
   * @param {string} xloc
   */
  place(value, xloc) {
    if (value === null || value === undefined) return NaN;
    return xloc === "bar_time" ? this.placeOfTime(value) : this.placeOfIndex(value);
  }

  /** @param {number} time also one of the future */
  placeOfTime(time) {
    const { bars, timeframeMs } = this.ground;
    if (!bars.length) return NaN;
    const end = bars.length - 1;
    if (time > bars.time(end)) return end + Math.floor((time - bars.time(end)) / timeframeMs);
    return time < bars.time(0) ? Math.floor((time - bars.time(0)) / timeframeMs) : bars.indexOf(time);
  }

  /** @param {number} index Pine's bar_index, also one of the future */
  placeOfIndex(index) {
    const { rows, anchor } = this;
    if (rows.firstIndex === null || !rows.length) {
      return anchor ? this.placeOfTime(anchor[0]) + index - anchor[1] : NaN;
    }
    const row = index - rows.firstIndex;
    const known = Math.min(Math.max(row, 0), rows.length - 1);
    return this.placeOfTime(rows.time(known)) + row - known;
  }

  /**
   * A coordinate on whole pixels, for sharp edges.
   * @param {number} at
   */
  sharp(at) {
    return Math.round(at * this.ratio) / this.ratio;
  }

  /** @param {string} name @param {number} [width] */
  dash(name, width = 1) {
    this.canvas.setLineDash(name === "dotted" ? [width, width * 2] : name === "dashed" ? [width * 4, width * 3] : []);
  }

  /**
   * @param {number | string | null | undefined} size Pine's, a name or points
   * @param {string | null} [family]
   * @param {string | null} [formatting]
   * @returns {number} the height of a line
   */
  font(size, family, formatting) {
    const pixels = (typeof size === "number" ? size : SIZES[size ?? "normal"]) || SIZES.auto;
    const bold = formatting?.includes("bold") ? "bold " : "";
    const italic = formatting?.includes("italic") ? "italic " : "";
    this.canvas.font = `${italic}${bold}${pixels}px ${family === "monospace" ? MONOSPACE : FONT}`;
    return Math.round(pixels * 1.25);
  }

  /** @param {string[]} lines */
  widest(lines) {
    return Math.max(0, ...lines.map((line) => this.canvas.measureText(line).width));
  }

  /**
   * Write lines of text, centred on a point or aligned to it.
   * @param {string[]} lines
   * @param {number} x
   * @param {number} y the middle of all lines
   * @param {number} height of a line
   * @param {CanvasTextAlign} align
   */
  write(lines, x, y, height, align = "center") {
    this.canvas.textAlign = align;
    this.canvas.textBaseline = "middle";
    lines.forEach((line, number) => this.canvas.fillText(line, x, y + (number - (lines.length - 1) / 2) * height));
  }
}

/**
 * How many bars more there are before those that the engine draws, where it does not draw all of them yet.
 * @param {Ground} ground
 */
function shiftOf({ api, main, bars }) {
  const range = api.timeScale().getVisibleLogicalRange();
  const place = range ? Math.max(Math.floor((range.from + range.to) / 2), 0) : 0;
  const drawn = main.dataByIndex(place);
  return drawn ? bars.indexOf(Number(drawn.time) * 1000) - place : 0;
}

/**
 * The way from a price to a coordinate: a straight one but on a logarithmic scale, where the engine is asked each time.
 * @param {Series} series
 * @param {number} height
 * @returns {(price: number) => number}
 */
function priceToY(series, height) {
  if (series.priceScale().options().mode === 1) return (price) => series.priceToCoordinate(price) ?? NaN;
  const top = series.coordinateToPrice(0) ?? NaN;
  const slope = height / ((series.coordinateToPrice(height) ?? NaN) - top);
  return (price) => (price - top) * slope;
}

/**
 * Whether a colour would be seen.
 * @param {unknown} color `#RRGGBBAA`, or nothing
 * @returns {color is string}
 */
export function visible(color) {
  return typeof color === "string" && !(color.length === 9 && color.endsWith("00"));
}

/**
 * The same colour without its transparency.
 * @param {string} color
 */
export function opaque(color) {
  return color.length === 9 ? color.slice(0, 7) : color;
}
