// One stream's bars kept true: loaded, paged in both directions, moved by what is said live, and after a gap or a
// lost connection filled with what has changed meanwhile. Nothing missing, nothing twice.

import { BarWindow, PAGE, barsOf, fromRow } from "./window.js";
import { getColumns } from "./wire.js";

/**
 * @typedef {import("./wire.js").Live} Live
 * @typedef {import("./window.js").Bar} Bar
 * @typedef {import("./window.js").Head} Head
 * @typedef {"keep" | "latest" | number} Look  where to look: a time is put in the middle
 */

const MOST_ROWS = 20_000;
const PAUSE_MS = 3_000;

export class Feed {
  /**
   * @param {Live} live
   * @param {(what: "newest" | "all", look: Look) => void} changed bars are to be drawn
   * @param {(sentence: string) => void} failed the server does not give bars; empty when it does
   */
  constructor(live, changed, failed) {
    this.window = new BarWindow();
    this.changed = changed;
    this.failed = failed;
    this.stream = "";
    this.timeframeMs = 60_000;
    /** of the server's life that the bars are of */
    this.boot = "";
    /** @type {string[]} */
    this.origins = [];
    /** answers to what was asked before the last turn are no longer wanted */
    this.turn = 0;
    this.asking = false;
    this.paging = false;
    this.wait = 0;
    /** @type {any[][]} what was said while bars are asked for */
    this.waiting = [];
    /** how often bars were asked for to fill a gap */
    this.refills = 0;
    for (const kind of ["b", "s", "n"]) live.on(kind, (...said) => this.hear([kind, ...said]));
    live.on("reset", (stream) => stream === this.stream && this.refill());
    live.on("hello", (boot) => this.boot !== "" && this.boot !== boot && this.reload(true));
    live.on("new", (stream) => stream === this.stream && this.reload(true));
  }

  // ---- what is asked for ----

  /**
   * Show another stream, from its newest bars or around a time.
   * @param {string} stream
   * @param {number} timeframeMs
   * @param {number | null} at
   */
  open(stream, timeframeMs, at) {
    this.stream = stream;
    this.timeframeMs = timeframeMs;
    this.window.clear();
    return at === null ? this.toLive() : this.toTime(at);
  }

  toLive() {
    return this.ask({ limit: PAGE }, (bars, head) => this.load(bars, head, "latest"));
  }

  /** @param {number} time */
  toTime(time) {
    if (this.window.holds(time)) {
      this.changed("all", time);
      return Promise.resolve();
    }
    const before_ms = time + (PAGE / 2) * this.timeframeMs;
    return this.ask({ limit: PAGE, before_ms }, (bars, head) => this.load(bars, head, time));
  }

  /** Newer bars, where the window ends before its stream does. A market that was closed for long has none at first. */
  async newer() {
    const { closed } = this.window;
    if (this.window.live || this.asking || closed.length === 0) return;
    const from_ms = closed[closed.length - 1].time + 1;
    for (let count = PAGE, found = 0; found === 0; count *= 4) {
      const turn = this.turn + 1;
      await this.ask({ limit: MOST_ROWS, from_ms, before_ms: from_ms + count * this.timeframeMs }, (bars, head) => {
        found = bars.length;
        this.window.append(bars, head, reaches([...closed.slice(-1), ...bars], head));
        this.changed("all", "keep");
      });
      if (this.turn !== turn || this.window.live || count > 1e9) return;
    }
  }

  /** Older bars before the first; live ones go on meanwhile, for these may take seconds to come. */
  async older() {
    const { closed, older } = this.window;
    if (!older || this.paging || this.asking || closed.length === 0 || performance.now() < this.wait) return;
    this.paging = true;
    const turn = this.turn;
    try {
      const { head, columns } = await getColumns("/api/bars", { stream: this.stream, limit: PAGE, before_ms: closed[0].time });
      if (turn !== this.turn) return;
      this.window.prepend(barsOf(columns, head.origins), head.older && head.count > 0);
      this.changed("all", "keep");
      this.failed("");
    } catch (error) {
      this.wait = performance.now() + PAUSE_MS;
      if (turn === this.turn) this.failed(sentence(error));
    } finally {
      this.paging = false;
    }
  }

  /** What has changed since the window's number. */
  refill() {
    this.refills++;
    return this.ask({ since_n: this.window.n, limit: MOST_ROWS }, (bars, head) => {
      if (head.boot !== this.boot) return this.reload(true);
      if (head.older) return this.reload(false);
      this.window.merge(bars, head);
      this.changed("all", "keep");
    });
  }

  /**
   * The same span of time again. A server that has just started may have a part of it only, the rest is said live then:
   * what the window holds stays, unless bars between would be missing.
   * @param {boolean} keep
   */
  reload(keep) {
    const { closed, live } = this.window;
    if (closed.length === 0) return this.toLive();
    const last = closed[closed.length - 1].time;
    this.refills++;
    const params = { from_ms: closed[0].time, before_ms: live ? null : last + 1, limit: MOST_ROWS };
    return this.ask(params, (bars, head) => {
      if (!keep || (head.older && bars[0]?.time > last)) return this.load(bars, head, "keep");
      this.boot = head.boot;
      this.window.merge(bars, head);
      this.changed("all", "keep");
    });
  }

  /**
   * @param {Bar[]} bars
   * @param {Head} head
   * @param {Look} look
   */
  load(bars, head, look) {
    this.boot = head.boot;
    this.window.load(bars, head, reaches(bars, head));
    this.changed("all", look);
  }

  /**
   * Ask for bars; what is said until they are there is heard after them.
   * @param {Record<string, number | null>} params
   * @param {(bars: Bar[], head: Head) => Promise<void> | void} then
   * @returns {Promise<void>}
   */
  async ask(params, then) {
    const turn = ++this.turn;
    this.asking = true;
    try {
      const { head, columns } = await getColumns("/api/bars", { stream: this.stream, ...params });
      if (turn !== this.turn) return;
      this.asking = false;
      this.origins = head.origins;
      await then(barsOf(columns, head.origins), head);
      this.failed("");
    } catch (error) {
      if (turn !== this.turn) return;
      this.asking = false;
      this.failed(sentence(error));
    }
    if (turn === this.turn) for (const said of this.waiting.splice(0)) this.hear(said);
  }

  // ---- what is said ----

  /** @param {any[]} said */
  hear(said) {
    const [kind, stream, n, ...rest] = said;
    if (stream !== this.stream || this.boot === "") return;
    if (this.asking) this.waiting.push(said);
    else if (kind !== "b") this.window.missed(n, kind === "s") && this.refill();
    else this.hearBar(n, rest);
  }

  /**
   * @param {number} n
   * @param {any[]} said
   */
  hearBar(n, [time, open, high, low, close, volume, closed, origin]) {
    const bar = fromRow([time, open, high, low, close, volume, origin], this.origins);
    const what = this.window.take(n, bar, closed === 1);
    if (what === "gap") this.refill();
    else if (what === "revised" || (what === "closed" && this.window.trim())) this.changed("all", "keep");
    else if (what !== "known") this.changed("newest", "keep");
  }
}

/**
 * Whether bars end where their stream does.
 * @param {Bar[]} bars
 * @param {Head} head
 */
function reaches(bars, head) {
  return (bars.at(-1)?.time ?? -Infinity) >= (head.last_ms ?? -Infinity);
}

/** @param {unknown} error */
function sentence(error) {
  if (!(error instanceof Error)) throw error;
  return error instanceof TypeError ? "The server does not answer." : error.message;
}
