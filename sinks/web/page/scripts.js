// The scripts on the chart: which of the stream's runs are shown, their plots and drawings (studies.js), their trades.

import { TradeMarkers } from "./engine/markers.js";
import { recall, remember } from "./settings.js";
import { Studies } from "./studies.js";
import { getJson } from "./wire.js";

/**
 * @typedef {import("./engine/chart.js").ChartEngine} ChartEngine
 * @typedef {import("./feed.js").Feed} Feed
 * @typedef {import("./menus.js").Choice} Choice
 * @typedef {import("./wire.js").Live} Live
 */

const MOST_TRADES = 5_000;
const PAUSE_MS = 150;

export class Scripts {
  /**
   * @param {ChartEngine} engine
   * @param {Feed} feed
   * @param {Live} live
   * @param {() => void} changed there are other runs, or they say something else
   */
  constructor(engine, feed, live, changed) {
    this.engine = engine;
    this.feed = feed;
    this.live = live;
    this.stream = "";
    /** the run that a link asks for: the others are hidden then */
    this.only = "";
    /** @type {Set<string>} */
    this.known = new Set();
    /** @type {Map<string, Trades>} of the strategies */
    this.trades = new Map();
    this.studies = new Studies(engine.ground, live);
    this.studies.onChange(() => {
      this.hideUnwanted();
      this.showTrades();
      changed();
    });
    engine.on("bars", () => this.move());
  }

  /**
   * @param {string} stream
   * @param {string} only
   */
  show(stream, only) {
    this.stream = stream;
    this.only = only;
    this.known.clear();
    return this.studies.show(stream);
  }

  /** The window has other bars. */
  move() {
    const { window, stream } = this.feed;
    const [first, last] = [window.closed[0], window.closed[window.closed.length - 1]];
    if (first && last && stream === this.stream) this.studies.window(first.time, last.time, window.live);
  }

  get runs() {
    return this.studies.runs();
  }

  /** @returns {Set<string>} */
  get hidden() {
    return new Set(JSON.parse(recall(`hidden.${this.stream}`, "[]")));
  }

  /** A run that is new here is shown unless it was hidden before, or another one is asked for. */
  hideUnwanted() {
    const { hidden } = this;
    for (const { run } of this.runs) {
      if (this.known.has(run)) continue;
      this.known.add(run);
      if (this.only ? this.only !== run : hidden.has(run)) this.studies.setVisible(run, false);
    }
  }

  showTrades() {
    const runs = new Map(this.runs.map((each) => [each.run, each]));
    for (const [run, trades] of this.trades) {
      if (runs.has(run)) continue;
      trades.remove();
      this.trades.delete(run);
    }
    for (const { run, kind, visible } of runs.values()) {
      if (kind !== "strategy") continue;
      if (!this.trades.has(run)) this.trades.set(run, new Trades(this.engine, this.live, run));
      this.trades.get(run)?.markers.setVisible(visible);
    }
  }

  /** @returns {Choice[]} */
  choices() {
    return this.runs.map(({ run, title, visible, failure }) => ({
      text: failure ? `${title}: ${failure}` : `${title}  ·  ${run.replace(/^run:/, "")}`,
      id: run,
      on: visible,
      pick: () => this.setVisible(run, !visible),
    }));
  }

  /**
   * @param {string} run
   * @param {boolean} yes
   */
  setVisible(run, yes) {
    const { hidden } = this;
    if (yes) hidden.delete(run);
    else hidden.add(run);
    remember(`hidden.${this.stream}`, JSON.stringify([...hidden]));
    this.studies.setVisible(run, yes);
  }
}

/** A strategy's trades on the candles: asked for again when one was opened or closed. */
class Trades {
  /**
   * @param {ChartEngine} engine
   * @param {Live} live
   * @param {string} run
   */
  constructor(engine, live, run) {
    this.run = run;
    this.markers = new TradeMarkers(engine.ground, run);
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    const soon = (/** @type {string} */ of) => of === run && this.soon();
    this.deaf = [live.on("f", soon), live.on("o", soon), live.on("r", soon), live.on("reset", soon), live.on("hello", () => this.load())];
    this.load();
  }

  /** Several things are said of one bar. */
  soon() {
    this.timer ??= setTimeout(() => this.load(), PAUSE_MS);
  }

  async load() {
    clearTimeout(this.timer);
    this.timer = undefined;
    try {
      const { run } = this;
      const [{ trades }, { positions }] = await Promise.all([
        getJson("/api/trades", { run, limit: MOST_TRADES }),
        getJson("/api/positions", { run }),
      ]);
      this.markers.setTrades(trades);
      this.markers.setOpen(positions[0]?.open_trades ?? []);
    } catch (error) {
      if (!(error instanceof Error)) throw error; // else the run is not there now; it is heard of when it is
    }
  }

  remove() {
    clearTimeout(this.timer);
    for (const end of this.deaf) end();
    this.markers.remove();
  }
}
