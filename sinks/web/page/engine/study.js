// One run of a script on the chart: its plots and drawings on the price's pane and, if it is no overlay, in one of its
// own. The engine is asked for nothing but scales, panes and a place to paint: what is painted is all here, so that
// Pine's rules hold and an update costs what is visible, not what is known.

import { measure, price } from "../format.js";
import { Drawn } from "./drawn.js";
import { Layer, ORDER } from "./layer.js";
import { Rows } from "./rows.js";
import { opaque } from "./scene.js";

/** @typedef {import("./scene.js").Ground} Ground */
/** @typedef {import("./plots.js").Meta} Meta */
/** @typedef {import("./drawings.js").Fields} Fields */
/** @typedef {import("./drawn.js").Change} Change */
/** @typedef {{title: string, text: string, color: string}} Shown `color` is empty where there is none */

const SEEN = new Set(["all", "pane"]);
const LISTED = new Set(["all", "status_line"]);

export class Study {
  /**
   * @param {Ground} ground
   * @param {boolean} overlay whether its plots are prices
   */
  constructor(ground, overlay) {
    this.ground = ground;
    this.overlay = overlay;
    this.rows = new Rows();
    /** @type {Map<string, Meta>} */
    this.metas = new Map();
    /** Whether its runner says how its plots look. */
    this.described = false;
    this.drawn = new Drawn();
    /** @type {[number, number] | null} */
    this.anchor = null;
    /** @type {Layer | null} */
    this.above = null;
    /** @type {Layer | null} */
    this.own = null;
    this.shown = true;
    this.unheard = ground.onFrame(() => this.own?.settle());
  }

  // --- what the run says ---------------------------------------------------------------------------------------------

  /** @param {Meta[]} metas those that are new or have changed */
  describe(metas) {
    this.described ||= metas.length > 0;
    for (const meta of metas) this.metas.set(meta.id, meta);
    this.refresh();
  }

  /**
   * A page of closed bars' plots.
   * @param {Record<string, ArrayLike<number>>} columns
   * @param {[number, string, any][]} styles
   * @param {number | null} firstIndex Pine's bar_index of the first row
   */
  load(columns, styles, firstIndex) {
    this.rows.put(columns, styles, firstIndex);
    this.assume();
    this.refresh();
  }

  /**
   * A closed bar's plots.
   * @param {number} time
   * @param {import("./rows.js").Values} values
   * @param {Record<string, any>} styles
   */
  close(time, values, styles) {
    this.rows.close(time, values, styles);
    this.drawn.form([]);
    this.assume();
    this.refresh();
  }

  /**
   * A forming bar's plots, and how it draws otherwise than the last closed one.
   * @param {import("./rows.js").Forming} forming
   * @param {Change[]} changes
   */
  form(forming, changes) {
    if (forming.time <= (this.rows.times[this.rows.times.length - 1] ?? -1)) return; // it has closed already
    this.rows.forming = forming;
    this.drawn.form(changes);
    this.refresh();
  }

  /**
   * A drawing was made, changed or taken away.
   * @param {Change} change
   */
  draw(change) {
    this.drawn.put(change);
    this.refresh();
  }

  /**
   * All drawings that stand.
   * @param {{kind: string, id: number, fields: Fields}[]} drawings
   */
  redraw(drawings) {
    this.drawn.reset(drawings);
    this.refresh();
  }

  /** Describe plots that their runner does not: lines, on the price's pane if they are about as high as prices. */
  assume() {
    if (this.described) return;
    for (const title of this.rows.titles) {
      if (this.metas.has(title)) continue;
      this.metas.set(title, {
        id: title, kind: "plot", title, display: "all", style: "line", linewidth: 1,
        color: COLORS[this.metas.size % COLORS.length], force_overlay: this.isPrice(title),
      });
    }
  }

  /**
   * Whether most values of a plot are near the close of their bars.
   * @param {string} title
   */
  isPrice(title) {
    const { rows, ground: { bars } } = this;
    let [near, known] = [0, 0];
    for (let row = 0; row < rows.length; row++) {
      const place = bars.indexOf(rows.time(row));
      const value = rows.value(title, row);
      if (place < 0 || Number.isNaN(value)) continue;
      known++;
      if (Math.abs(value / bars.close(place) - 1) < 0.4) near++;
    }
    return known > 0 && near > known * 0.6;
  }

  // --- where it is -----------------------------------------------------------------------------------------------------

  /** @param {Meta} meta */
  isAbove(meta) {
    if (this.overlay || meta.kind === "barcolor") return true;
    if (meta.kind === "fill" && meta.plot1 !== undefined) return Boolean(this.metas.get(meta.plot1)?.force_overlay);
    return Boolean(meta.force_overlay);
  }

  /**
   * What is shown on one of the two panes.
   * @param {boolean} above
   */
  metasOf(above) {
    return [...this.metas.values()].filter((meta) => SEEN.has(meta.display) && this.isAbove(meta) === above);
  }

  /**
   * All drawings of a kind on one of the two panes.
   * @param {string} kind
   * @param {boolean} above
   */
  drawingsOf(kind, above) {
    return this.drawn.all(kind).filter((fields) => {
      const judged = kind === "linefill" ? fields.line1_state : fields;
      return (this.overlay || Boolean(judged?.force_overlay)) === above;
    });
  }

  /** Paint anew, on the panes that are needed now. */
  refresh() {
    const needs = (/** @type {boolean} */ above) => this.shown
      && (this.metasOf(above).length > 0 || ORDER.some((kind) => this.drawingsOf(kind, above).length > 0));
    if (!this.above && needs(true)) this.above = new Layer(this, true);
    if (!this.own && needs(false)) this.own = new Layer(this, false);
    this.above?.update();
    this.own?.update();
  }

  /** @param {boolean} yes */
  setVisible(yes) {
    this.shown = yes;
    if (!yes) this.leave();
    this.refresh();
  }

  leave() {
    this.above?.remove();
    this.own?.remove();
    this.above = this.own = null;
  }

  remove() {
    this.shown = false;
    this.unheard?.();
    this.leave();
  }

  // --- what it says in words -------------------------------------------------------------------------------------------

  /**
   * The values at a bar, or the latest, as a legend shows them.
   * @param {boolean} above
   * @param {number | null} time
   * @returns {Shown[]}
   */
  values(above, time) {
    const row = time === null ? this.rows.length - 1 : this.rows.rowAt(time);
    const metas = [...this.metas.values()].filter((meta) => LISTED.has(meta.display) && this.isAbove(meta) === above);
    return metas.flatMap((meta) => {
      if (meta.kind === "candle" || meta.kind === "bar") {
        const parts = ["open", "high", "low", "close"].map((part) => this.rows.value(`${meta.id} (${part})`, row));
        return [{ title: meta.title, text: parts.map((part) => this.text(meta, part)).join(" "), color: meta.color ?? "" }];
      }
      if (meta.kind !== "plot") return [];
      const value = this.rows.value(meta.id, row);
      const style = meta.dynamic && row >= 0 ? this.rows.styles(meta.id, row)(row) : undefined;
      return [{ title: meta.title, text: this.text(meta, value), color: opaque(style ?? meta.color ?? "") }];
    });
  }

  /**
   * @param {Meta} meta
   * @param {number} value
   */
  text(meta, value) {
    if (Number.isNaN(value)) return "∅";
    if (meta.precision === undefined && !this.isAbove(meta)) return measure(value);
    return price(value, meta.precision ?? this.ground.digits);
  }
}

const COLORS = ["#2962FF", "#FF6D00", "#26A69A", "#AB47BC", "#E91E63", "#FDD835"];
