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
    /** @type {number | null} the trades of this time are shown from entry to exit */
    this.at = null;
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
      const trades = this.trades.get(run) ?? new Trades(this.engine, this.live, run);
      if (!this.trades.has(run)) trades.markers.pointAt(this.at);
      this.trades.set(run, trades);
      trades.markers.setVisible(visible);
    }
  }

  /** Show the trades of a time from entry to exit. @param {number | null} time */
  pointAt(time) {
    this.at = time;
    for (const { markers } of this.trades.values()) markers.pointAt(time);
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

/** A strategy's trades on the candles: asked for once, and kept by what is told. */
class Trades {
  /**
   * @param {ChartEngine} engine
   * @param {Live} live
   * @param {string} run
   */
  constructor(engine, live, run) {
    this.run = run;
    this.markers = new TradeMarkers(engine.ground, run);
    /** @type {any[]} */
    this.closed = [];
    /** @type {any[]} */
    this.open = [];
    /** the change number up to which the closed ones are here */
    this.n = 0;
    /** answers to what was asked before the last turn are no longer wanted */
    this.turn = 0;
    /** @type {(() => void)[] | null} what was told while they are asked for */
    this.waiting = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    const load = (/** @type {string} */ of) => void (of === run && this.load());
    /** @param {(n: number, said: any) => void} take */
    const hear = (take) => (/** @type {string} */ of, /** @type {number} */ n, /** @type {any} */ said) => {
      if (of !== run) return;
      if (this.waiting) this.waiting.push(() => take(n, said));
      else take(n, said);
    };
    this.deaf = [
      live.on("f", hear((n, fill) => n > this.n && this.add(n, fill))),
      live.on("o", hear((_, { open_trades }) => this.hold(open_trades))),
      live.on("r", load),
      live.on("reset", load),
      live.on("hello", () => this.load()),
    ];
    this.load();
  }

  /**
   * @param {number} n
   * @param {any} fill
   */
  add(n, fill) {
    this.n = n;
    this.closed.push(fill);
    this.soon();
  }

  /** @param {any[]} open */
  hold(open) {
    this.open = open;
    this.soon();
  }

  /** Several things are said of one bar. */
  soon() {
    this.timer ??= setTimeout(() => this.show(), PAUSE_MS);
  }

  show() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.closed = this.closed.slice(-MOST_TRADES);
    this.markers.setTrades(this.closed);
    this.markers.setOpen(this.open);
  }

  async load() {
    const { run } = this;
    const turn = ++this.turn;
    this.waiting ??= [];
    try {
      const [{ n, trades }, { positions }] = await Promise.all([
        getJson("/api/trades", { run, limit: MOST_TRADES }),
        getJson("/api/positions", { run }),
      ]);
      if (turn !== this.turn) return;
      [this.n, this.closed, this.open] = [n, trades, positions[0]?.open_trades ?? []];
      this.show();
    } catch (error) {
      if (!(error instanceof Error)) throw error; // else the run is not there now; it is heard of when it is
      if (turn !== this.turn) return;
    }
    const waited = this.waiting ?? [];
    this.waiting = null;
    for (const take of waited) take();
  }

  remove() {
    this.turn++;
    clearTimeout(this.timer);
    for (const end of this.deaf) end();
    this.markers.remove();
  }
}
