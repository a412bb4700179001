// What of one study is on one pane: what the engine asks for, and all that is painted there.

import { measure } from "../format.js";
import { drawBarColors, drawCandles } from "./candles.js";
import { drawBox, drawLine, drawLinefill, drawPolyline } from "./drawings.js";
import { drawBackground, drawFill } from "./fills.js";
import { drawLabel } from "./labels.js";
import { drawArrows, drawMarks } from "./marks.js";
import { drawHline, drawPlot, lastOf } from "./plots.js";
import { Scene, opaque, visible } from "./scene.js";
import { drawTable } from "./tables.js";

/** @typedef {import("./scene.js").Series} Series */
/** @typedef {import("./plots.js").Meta} Meta */
/** @typedef {import("./drawings.js").Fields} Fields */
/** @typedef {import("./study.js").Study} Study */

/** @type {Record<string, (scene: Scene, meta: Meta, study: Study) => void>} */
const PLOTS = {
  bgcolor: drawBackground, fill: (scene, meta, { metas }) => drawFill(scene, meta, metas), barcolor: drawBarColors,
  plot: drawPlot, hline: drawHline, candle: drawCandles, bar: drawCandles, shape: drawMarks, char: drawMarks, arrow: drawArrows,
};
/** Beneath the candles, in this order. */
const BENEATH = ["bgcolor", "fill"];
/** In this order. @type {Record<string, (scene: Scene, fields: Fields, study: Study) => void>} */
const DRAWINGS = {
  linefill: (scene, fields, { drawn }) => drawLinefill(scene, fields, (kind, id) => drawn.get(kind, id) ?? undefined),
  box: drawBox, line: drawLine, polyline: drawPolyline, label: drawLabel, table: drawTable,
};
export const ORDER = Object.keys(DRAWINGS);
const SCALED = new Set(["all", "price_scale"]);
const PANE_SHARE = 0.3; // of the price's pane

/** What of one study is on one pane; the engine's primitive. */
export class Layer {
  /**
   * @param {Study} study
   * @param {boolean} above the price's pane
   */
  constructor(study, above) {
    this.study = study;
    this.isAbove = above;
    /** The bar that the series of a pane has its value on. */
    this.settled = 0;
    this.series = above ? study.ground.main : this.openPane();
    /** Null is the price's. */
    this.pane = above ? null : this.series.getPane();
    /** @type {import("./scene.js").Spot[]} */
    this.spots = [];
    /** @type {Set<string>} */
    this.failed = new Set();
    this.update = () => {};
    this.views = [
      this.view("bottom", (scene) => this.paintBeneath(scene)),
      this.view("normal", (scene) => this.paint(scene)),
    ];
    this.labels = [];
    this.series.attachPrimitive(/** @type {any} */ (this));
  }

  /** A pane below all others, with a series that nobody sees: a price scale needs one. */
  openPane() {
    const { api, library } = this.study.ground;
    const series = api.addSeries(library.LineSeries, {
      lineVisible: false, lastValueVisible: false, priceLineVisible: false, crosshairMarkerVisible: false,
      autoscaleInfoProvider: () => this.autoscale(), priceFormat: { type: "custom", minMove: 1e-8, formatter: measure },
    }, api.panes().length);
    series.priceScale().applyOptions({ mode: library.PriceScaleMode.Normal }); // the prices' scale may be another one
    series.getPane().setStretchFactor(api.panes()[0].getStretchFactor() * PANE_SHARE);
    this.settle(series);
    return series;
  }

  /**
   * The series' only value is on the chart's last bar, wherever that is: left of all that is seen, the pane would have
   * no scale.
   * @param {Series} [series]
   */
  settle(series = this.series) {
    const { bars } = this.study.ground;
    const time = bars.length ? bars.time(bars.length - 1) : 0;
    if (time && time !== this.settled) series.setData([{ time: /** @type {any} */ (time / 1000), value: 0 }]);
    this.settled = time;
  }

  remove() {
    this.series.detachPrimitive(/** @type {any} */ (this));
    if (!this.isAbove) this.study.ground.api.removeSeries(this.series);
  }

  // --- the engine's side -----------------------------------------------------------------------------------------------

  /** @param {{requestUpdate: () => void}} attached */
  attached({ requestUpdate }) {
    this.update = requestUpdate;
  }

  detached() {
    this.update = () => {};
  }

  paneViews() {
    return this.views;
  }

  /**
   * @param {"bottom" | "normal"} zOrder
   * @param {(scene: Scene) => void} paint
   */
  view(zOrder, paint) {
    const renderer = {
      draw: (/** @type {any} */ target) => target.useMediaCoordinateSpace((/** @type {any} */ { context, mediaSize }) => {
        paint(this.scene(context, mediaSize));
      }),
    };
    return { zOrder: () => zOrder, renderer: () => renderer };
  }

  /**
   * The pane as it is now.
   * @param {CanvasRenderingContext2D} canvas
   * @param {{width: number, height: number}} size
   */
  scene(canvas, size) {
    const { ground, rows, anchor } = this.study;
    return new Scene(canvas, size, ground, this.series, rows, anchor);
  }

  /** The prices that are to be seen in what is visible. */
  autoscaleInfo() {
    return this.isAbove ? this.autoscale() : null;
  }

  autoscale() {
    const { study } = this;
    const range = study.ground.api.timeScale().getVisibleLogicalRange();
    let [least, most] = [Infinity, -Infinity];
    const take = (/** @type {number} */ value) => {
      if (value < least) least = value;
      if (value > most) most = value;
    };
    if (range) {
      for (const meta of study.metasOf(this.isAbove)) this.reach(meta, range.from, range.to, take);
    }
    return least <= most ? { priceRange: { minValue: least, maxValue: most } } : null;
  }

  /**
   * @param {Meta} meta
   * @param {number} from
   * @param {number} to
   * @param {(value: number) => void} take
   */
  reach(meta, from, to, take) {
    const { rows, ground: { bars } } = this.study;
    if (meta.kind === "hline" && !this.isAbove) take(meta.price);
    if (meta.kind === "plot" && (meta.style === "histogram" || meta.style === "columns")) take(meta.histbase ?? 0);
    const titles = meta.kind === "plot" || meta.location === "absolute" ? [meta.id]
      : meta.kind === "candle" || meta.kind === "bar" ? [`${meta.id} (high)`, `${meta.id} (low)`] : [];
    if (!titles.length || !bars.length) return;
    const offset = meta.offset ?? 0;
    const clamp = (/** @type {number} */ place) => Math.min(Math.max(place, 0), bars.length - 1);
    const first = Math.max(rows.rowAt(bars.time(clamp(Math.ceil(from - offset)))), meta.show_last ? rows.length - meta.show_last : 0, 0);
    const last = rows.rowAt(bars.time(clamp(Math.floor(to - offset))));
    for (const title of titles) for (let row = first; row <= last; row++) take(rows.value(title, row));
  }

  priceAxisViews() {
    const { study } = this;
    const plots = study.shown ? study.metasOf(this.isAbove).filter((meta) => meta.kind === "plot" && SCALED.has(meta.display)) : [];
    return plots.flatMap((meta) => {
      const last = lastOf(study.rows, meta);
      if (!last || !visible(last.color) || meta.offset) return [];
      const color = opaque(last.color);
      return [{
        coordinate: () => this.series.priceToCoordinate(last.value) ?? -100, text: () => study.text(meta, last.value),
        textColor: () => contrast(color), backColor: () => color,
      }];
    });
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  hitTest(x, y) {
    const spot = this.spots.findLast(({ left, top, right, bottom }) => x >= left && x <= right && y >= top && y <= bottom);
    return spot ? { externalId: `tip ${spot.tip}`, zOrder: "normal" } : null;
  }

  // --- painting --------------------------------------------------------------------------------------------------------

  /** @param {Scene} scene */
  paintBeneath(scene) {
    const metas = this.study.metasOf(this.isAbove);
    for (const kind of BENEATH) for (const meta of metas) if (meta.kind === kind) this.paintPlot(scene, meta);
  }

  /** @param {Scene} scene */
  paint(scene) {
    const metas = this.study.metasOf(this.isAbove).filter(({ kind }) => !BENEATH.includes(kind));
    for (const meta of metas) if (meta.kind === "barcolor") this.paintPlot(scene, meta);
    for (const meta of metas) if (meta.kind !== "barcolor") this.paintPlot(scene, meta);
    for (const kind of ORDER) {
      for (const fields of this.study.drawingsOf(kind, this.isAbove)) this.paintDrawing(scene, kind, fields);
    }
    this.spots = scene.spots;
  }

  /**
   * @param {Scene} scene
   * @param {Meta} meta
   */
  paintPlot(scene, meta) {
    this.one(meta.id, () => PLOTS[meta.kind]?.(scene, meta, this.study));
  }

  /**
   * @param {Scene} scene
   * @param {string} kind
   * @param {Fields} fields
   */
  paintDrawing(scene, kind, fields) {
    this.one(kind, () => DRAWINGS[kind]?.(scene, fields, this.study));
  }

  /**
   * Paint one thing: what cannot be painted is said once, and nothing else is missing for it.
   * @param {string} name
   * @param {() => void} paint
   */
  one(name, paint) {
    try {
      paint();
    } catch (error) {
      if (!this.failed.has(name)) console.error(`${name} cannot be painted`, error);
      this.failed.add(name);
    }
  }
}

/** @param {string} color */
function contrast(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return red * 0.299 + green * 0.587 + blue * 0.114 > 160 ? "#131722" : "#FFFFFF";
}
