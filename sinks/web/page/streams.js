// All streams of the bus, kept true: what they are of, their last price and how they are.

import { digitsOf } from "./format.js";
import { getJson } from "./wire.js";

/**
 * @typedef {import("./wire.js").Live} Live
 * @typedef {object} Stream
 * @property {string} stream
 * @property {"bars" | "run"} kind
 * @property {string} state
 * @property {string} reason
 * @property {number} since_ms
 * @property {{ticker: string, description: string, timezone: string, mintick: number, mincontract: number, currency: string, source: string} | null} instrument
 * @property {string} timeframe
 * @property {number} timeframe_ms
 * @property {number[] | null} last time, open, high, low, close, volume, origin
 * @property {number | null} previous_close
 * @property {{script: string, title: string, kind: string, stream: string} | null} run
 */

const PAUSE_MS = 200;

/**
 * The parts of a stream's name: `ccxt:BYBIT:BTC/USDT:USDT@1` is `BYBIT:BTC/USDT:USDT` of `ccxt` at `1`.
 * @param {string} stream
 */
export function partsOf(stream) {
  const [colon, at] = [stream.indexOf(":"), stream.lastIndexOf("@")];
  return { source: stream.slice(0, colon), symbol: stream.slice(colon + 1, at), timeframe: stream.slice(at + 1) };
}

export class Streams {
  /**
   * @param {Live} live
   * @param {() => void} changed
   */
  constructor(live, changed) {
    /** @type {Map<string, Stream>} */
    this.all = new Map();
    this.loaded = false;
    this.changed = changed;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    live.on("hello", () => this.load());
    live.on("new", () => this.soon());
    live.on("reset", () => this.soon());
    live.on("q", (quotes) => this.hear(quotes));
    live.on("s", (stream, _, state, since_ms, reason) => this.turn(stream, { state, since_ms, reason }));
  }

  /** Ask again shortly: many streams may be new at once. */
  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), PAUSE_MS);
  }

  async load() {
    clearTimeout(this.timer);
    try {
      const { streams } = await getJson("/api/streams");
      this.all = new Map(streams.map((/** @type {Stream} */ row) => [row.stream, row]));
      this.loaded = true;
      this.changed();
    } catch (error) {
      if (!(error instanceof Error)) throw error; // else the connection is lost, and says so; it asks again
    }
  }

  /** @param {[string, number | null, number | null, string, number | null][]} quotes */
  hear(quotes) {
    for (const [name, price, previous_close, state, time] of quotes) {
      const row = this.all.get(name);
      if (!row) continue;
      if (price !== null && time !== null) row.last = [time, price, price, price, price, 0, 0];
      row.previous_close = previous_close;
      row.state = state;
    }
    this.changed();
  }

  /**
   * @param {string} name
   * @param {Partial<Stream>} how
   */
  turn(name, how) {
    const row = this.all.get(name);
    if (row) Object.assign(row, how);
    this.changed();
  }

  /** @param {string} name */
  get(name) {
    return this.all.get(name);
  }

  /** What is shown to who asks for nothing: what was looked at last, else what has scripts, else the first. @param {string} last */
  first(last) {
    const rows = [...this.all.values()];
    const run = rows.find((row) => this.all.has(row.run?.stream ?? ""));
    return (this.get(last) ?? this.get(run?.run?.stream ?? "") ?? rows.find(({ kind }) => kind === "bars"))?.stream ?? "";
  }

  /** Streams of bars by symbol, each from the shortest bars to the longest. @returns {Map<string, Stream[]>} */
  symbols() {
    const bars = [...this.all.values()].filter((row) => row.kind === "bars");
    bars.sort((a, b) => a.timeframe_ms - b.timeframe_ms);
    return Map.groupBy(bars, (row) => row.stream.slice(0, row.stream.lastIndexOf("@")));
  }

  /** The stream of this one's symbol at another timeframe. @param {string} name */
  siblings(name) {
    return this.symbols().get(name.slice(0, name.lastIndexOf("@"))) ?? [];
  }
}

/** @param {Stream | undefined} row */
export function digits(row) {
  return digitsOf(row?.instrument?.mintick ?? 0.01);
}
