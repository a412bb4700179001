// All that the chart page asks of a chart engine, over lightweight-charts: candles, volume, scales, the view.
//
// Closed bars and the forming one are series of their own: an update of a series costs as much as it has bars,
// so that a tick moves a series of one bar. All that happens between two frames is drawn once.

import { amount } from "../format.js";
import { groundOf } from "./ground.js";
import { RIGHT_OFFSET, candleOptions, chartOptions, themeColours } from "./look.js";
import { OriginStrip } from "./origins.js";
import { zonedAxis } from "./scale.js";
import { Spot } from "./spot.js";

/**
 * @typedef {import("lightweight-charts").IChartApiBase<import("lightweight-charts").Time>} Api
 * @typedef {import("lightweight-charts").UTCTimestamp} Stamp
 * @typedef {import("../format.js").Zone} Zone
 * @typedef {import("../window.js").Bar} Bar
 * @typedef {import("../window.js").BarWindow} BarWindow
 * @typedef {{mintick: number, mincontract: number, digits: number, timeframeMs: number}} Grid
 * @typedef {import("./ground.js").Ground} Ground
 * @typedef {{time: number | null}} Pointer  the time of the bar under the crosshair, null where it is over none
 */

const BUNDLE = "/bundle/lightweight-charts.js";
const MODES = { linear: 0, log: 1, percent: 2 };

/** @returns {Promise<typeof import("lightweight-charts")>} */
export function loadLibrary() {
  return import(BUNDLE);
}

/** The time of a bar as the engine wants it. @param {number} ms */
export function stamp(ms) {
  return /** @type {Stamp} */ (ms / 1000);
}

export class ChartEngine {
  /**
   * @param {typeof import("lightweight-charts")} library
   * @param {HTMLElement} element
   * @param {BarWindow} window the bars that it draws; ``draw`` says what of them has changed
   * @param {Zone} zone
   */
  constructor(library, element, window, zone) {
    this.library = library;
    this.window = window;
    this.zone = zone;
    /** @type {Grid} */
    this.grid = { mintick: 0.01, mincontract: 1e-5, digits: 2, timeframeMs: 60_000 };
    this.colours = themeColours();
    this.api = library.createChartEx(element, zonedAxis(library, () => this.zone), chartOptions(this));
    this.volume = this.addVolume();
    this.formingVolume = this.addVolume();
    this.closed = this.addCandles();
    this.forming = this.addCandles();
    this.closed.attachPrimitive(new OriginStrip(this));
    this.spot = new Spot(this);
    this.closed.attachPrimitive(this.spot);
    this.api.priceScale("right").applyOptions({ scaleMargins: { top: 0.1, bottom: 0.2 } });
    this.api.priceScale("volume").applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });

    /** @type {0 | 1 | 2} nothing, the newest bars, or all of them are to be drawn at the next frame */
    this.pending = 0;
    this.asked = false;
    /** @type {"keep" | "latest" | number} where to look when all is drawn: a time is put in the middle */
    this.look = "latest";
    this.drawn = -Infinity;
    this.muted = false;
    /** @type {"linear" | "log" | "percent"} */
    this.mode = "linear";
    /** @type {(() => void)[]} */
    this.after = [];
    /** @type {Record<"bars" | "theme" | "range" | "frame", Set<() => void>>} */
    this.hearers = { bars: new Set(), theme: new Set(), range: new Set(), frame: new Set() };
    this.api.timeScale().subscribeVisibleLogicalRangeChange(() => this.tell("range"));
    this.ground = groundOf(this);
  }

  addCandles() {
    return this.api.addSeries(this.library.CandlestickSeries, candleOptions(this), 0);
  }

  addVolume() {
    return this.api.addSeries(
      this.library.HistogramSeries,
      {
        priceScaleId: "volume",
        priceFormat: { type: "custom", minMove: 1e-8, formatter: amount },
        lastValueVisible: false,
        priceLineVisible: false,
      },
      0,
    );
  }

  // ---- what is heard of it ----

  /**
   * ``bars``: the window was replaced or moved, and is drawn; ``frame``: anything was drawn; ``range``: another part
   * of it is seen; ``theme``: dark or light.
   * @param {"bars" | "theme" | "range" | "frame"} what
   * @param {() => void} hearer
   */
  on(what, hearer) {
    this.hearers[what].add(hearer);
    return () => this.hearers[what].delete(hearer);
  }

  /** @param {"bars" | "theme" | "range" | "frame"} what */
  tell(what) {
    for (const hearer of this.hearers[what]) hearer();
  }

  /** @param {(pointer: Pointer) => void} hearer */
  onPointer(hearer) {
    this.api.subscribeCrosshairMove(({ time, point }) => {
      hearer({ time: time === undefined || point === undefined ? null : Number(time) * 1000 });
    });
  }

  // ---- drawing ----

  /**
   * Draw at the next frame what has changed in the window.
   * @param {"newest" | "all"} what
   * @param {"keep" | "latest" | number} [look] where to look then; what is seen is kept otherwise
   */
  draw(what, look = "keep") {
    this.pending = what === "all" || this.pending === 2 ? 2 : 1;
    if (look !== "keep") this.look = look;
    this.frame();
  }

  /** Do this at the next frame, after the candles are drawn. @param {() => void} work */
  nextFrame(work) {
    this.after.push(work);
    this.frame();
  }

  frame() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      const [what, works] = [this.pending, this.after];
      [this.pending, this.after] = [0, []];
      if (what === 2) this.drawAll();
      else if (what === 1) this.drawNewest();
      for (const work of works) work();
      this.tell("frame");
    });
  }

  drawAll() {
    const { closed } = this.window;
    const anchor = this.look === "keep" ? this.anchor() : null;
    this.closed.setData(closed.map(candle));
    this.volume.setData(closed.map((bar) => this.column(bar)));
    this.drawn = closed.at(-1)?.time ?? -Infinity;
    this.drawForming();
    if (anchor) this.moveTo(anchor);
    else if (this.look === "latest") this.latest();
    else if (this.look !== "keep") this.centre(this.look);
    this.look = "keep";
    this.tell("bars");
  }

  drawNewest() {
    const { closed } = this.window;
    for (let i = this.window.indexOf(this.drawn) + 1; i < closed.length; i++) {
      this.closed.update(candle(closed[i]));
      this.volume.update(this.column(closed[i]));
    }
    this.drawn = closed.at(-1)?.time ?? -Infinity;
    this.drawForming();
  }

  drawForming() {
    const { forming } = this.window;
    const apart = this.mode !== "percent"; // each series counts percents from its own first bar that is seen
    if (forming && !apart) this.closed.update(candle(forming));
    this.forming.setData(forming && apart ? [candle(forming)] : []);
    this.formingVolume.setData(forming ? [this.column(forming)] : []);
    const shown = forming === null || !apart;
    if (this.closed.options().lastValueVisible !== shown) {
      this.closed.applyOptions({ lastValueVisible: shown, priceLineVisible: shown });
    }
  }

  /** @param {Bar} bar */
  column({ time, open, close, volume }) {
    return { time: stamp(time), value: volume, color: this.colours[close < open ? "down-soft" : "up-soft"] };
  }

  // ---- the view ----

  /** Where one looks: the last bar seen and its place; null where the newest bar is seen, for it is followed. */
  anchor() {
    const range = this.api.timeScale().getVisibleLogicalRange();
    const bar = range && this.window.length ? this.shownBar(Math.floor(range.to)) : null;
    return range && bar !== null && range.to < this.shown() - 1 ? { range, time: bar } : null;
  }

  /** How many bars the engine holds, which is what was last drawn. */
  shown() {
    return this.closed.data().length + this.forming.data().length;
  }

  /** @param {number} i @returns {number | null} */
  shownBar(i) {
    const bar = this.closed.data()[i];
    return bar ? Number(bar.time) * 1000 : null;
  }

  /** @param {{range: {from: number, to: number}, time: number}} anchor */
  moveTo({ range, time }) {
    const shift = this.window.indexOf(time) - Math.floor(range.to);
    this.api.timeScale().setVisibleLogicalRange({ from: range.from + shift, to: range.to + shift });
  }

  latest() {
    this.api.timeScale().scrollToPosition(RIGHT_OFFSET, false);
  }

  /** Look at the first bar that is there, at the same zoom. */
  oldest() {
    const { from, to } = this.range();
    this.api.timeScale().setVisibleLogicalRange({ from: 0, to: to - from });
  }

  /** Whether the newest bar is in sight. */
  following() {
    return this.api.timeScale().scrollPosition() >= -1;
  }

  /** Put the bar of this time into the middle. @param {number} time */
  centre(time) {
    const range = this.api.timeScale().getVisibleLogicalRange();
    if (!range) return;
    const [i, half] = [this.window.indexOf(time), (range.to - range.from) / 2];
    this.api.timeScale().setVisibleLogicalRange({ from: i - half, to: i + half });
  }

  /** @param {number} bars to the right, which is the future */
  pan(bars) {
    const scale = this.api.timeScale();
    scale.scrollToPosition(scale.scrollPosition() + bars, false);
  }

  /** Show more or fewer bars; the newest stays where it is, otherwise the middle does. @param {number} factor */
  zoom(factor) {
    const scale = this.api.timeScale();
    const range = scale.getVisibleLogicalRange();
    if (!range) return;
    const width = (range.to - range.from) * factor;
    const to = this.following() ? range.to : (range.from + range.to + width) / 2;
    scale.setVisibleLogicalRange({ from: to - width, to });
  }

  /** The indexes of the bars that are seen, also of those that are not there. */
  range() {
    return this.api.timeScale().getVisibleLogicalRange() ?? { from: 0, to: 0 };
  }

  /** Where the bar of this index is drawn, in px. @param {number} i */
  x(i) {
    return this.api.timeScale().logicalToCoordinate(/** @type {import("lightweight-charts").Logical} */ (i)) ?? -1e4;
  }

  // ---- choices ----

  /** @param {Grid} grid */
  setGrid(grid) {
    this.grid = grid;
    this.restyle();
  }

  /** @param {"linear" | "log" | "percent"} name */
  setScale(name) {
    if ((name === "percent") !== (this.mode === "percent")) this.draw("all");
    this.mode = name;
    this.api.priceScale("right").applyOptions({ mode: MODES[name], autoScale: true });
  }

  fit() {
    this.api.priceScale("right").applyOptions({ autoScale: true });
  }

  /** Whether the prices are fitted to what is seen. */
  fitted() {
    return this.api.priceScale("right").options().autoScale;
  }

  /** @param {Zone} zone */
  setZone(zone) {
    this.zone = zone;
    if (this.closed.data().length === 0) return;
    // The library weighs the marks of the axis again only where its first point is another one.
    const nudge = this.api.addSeries(this.library.LineSeries, { visible: false }, 0);
    nudge.setData([{ time: /** @type {Stamp} */ (Number(this.closed.data()[0].time) - 1) }]);
    this.api.removeSeries(nudge);
    this.restyle();
  }

  /** Whether the last price is one of the past: its line is grey then. @param {boolean} muted */
  setMuted(muted) {
    if (this.muted === muted) return;
    this.muted = muted;
    this.restyle();
  }

  setTheme() {
    this.colours = themeColours();
    this.restyle();
    this.draw("all");
    this.tell("theme");
  }

  restyle() {
    this.api.applyOptions(chartOptions(this));
    for (const series of [this.closed, this.forming]) series.applyOptions(candleOptions(this));
  }
}

/** @param {Bar} bar */
function candle({ time, open, high, low, close }) {
  return { time: stamp(time), open, high, low, close };
}
