// One stream's bars as the page holds them: a window that slides over the stream, and the bar that is forming.
// No DOM, no chart engine. Rows are keyed by time, so what comes twice is there once.

/**
 * @typedef {{time: number, open: number, high: number, low: number, close: number, volume: number, origin: string}} Bar
 *   `time` is when it opens, in ms
 * @typedef {Record<string, Float64Array>} Columns
 * @typedef {[number, number, number, number, number, number, number]} Row  time, open, high, low, close, volume, origin
 * @typedef {{boot: string, n: number, older: boolean, last_ms: number | null, origins: string[], forming: Row | null}} Head
 */

export const PAGE = 5_000;
export const MOST = 15_000;

/**
 * The rows of a columns reply as bars.
 * @param {Columns} columns
 * @param {string[]} origins
 * @returns {Bar[]}
 */
export function barsOf({ time_ms, open, high, low, close, volume, origin }, origins) {
  return Array.from(time_ms, (time, i) => ({
    time,
    open: open[i],
    high: high[i],
    low: low[i],
    close: close[i],
    volume: volume[i],
    origin: origins[origin[i]],
  }));
}

export class BarWindow {
  constructor() {
    /** @type {Bar[]} closed bars, ascending */
    this.closed = [];
    /** @type {Bar | null} */
    this.forming = null;
    /** the change number up to which the window is complete */
    this.n = 0;
    /** whether there may be older bars than the first */
    this.older = false;
    /** whether the window ends where the stream does; else live bars are not for it */
    this.live = true;
  }

  get length() {
    return this.closed.length + (this.forming ? 1 : 0);
  }

  /** @param {number} i @returns {Bar | undefined} the forming bar is the last one */
  at(i) {
    return i === this.closed.length ? (this.forming ?? undefined) : this.closed[i];
  }

  get last() {
    return this.at(this.length - 1);
  }

  /**
   * The index of the last bar that opens at or before the time, -1 before the first.
   * @param {number} time
   */
  indexOf(time) {
    if (this.forming && this.forming.time <= time) return this.closed.length;
    let [low, high] = [0, this.closed.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.closed[middle].time <= time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  clear() {
    this.closed = [];
    this.forming = null;
  }

  /** Whether the time is within it. @param {number} time */
  holds(time) {
    return this.closed.length > 0 && this.closed[0].time <= time && time <= this.closed[this.closed.length - 1].time;
  }

  /**
   * Start with these bars, in place of all.
   * @param {Bar[]} bars
   * @param {Head} head
   * @param {boolean} live whether they end where the stream does
   */
  load(bars, head, live) {
    this.closed = bars;
    this.older = head.older;
    this.live = live;
    this.caughtUp(head);
  }

  /**
   * What has changed since ``n``: new bars and revised ones, in ascending order.
   * @param {Bar[]} bars
   * @param {Head} head
   */
  merge(bars, head) {
    for (const bar of bars) {
      if (this.live) this.keep(bar);
      else this.revise(bar);
    }
    this.caughtUp(head);
  }

  /** @param {Head} head */
  caughtUp(head) {
    this.n = head.n;
    this.forming = null;
    if (head.forming) this.form(fromRow(head.forming, head.origins));
  }

  /**
   * Older bars before the first one; the newest make room.
   * @param {Bar[]} bars
   * @param {boolean} older
   */
  prepend(bars, older) {
    const first = this.closed[0]?.time ?? Infinity;
    this.closed = [...bars.filter((bar) => bar.time < first), ...this.closed];
    this.older = older;
    if (this.closed.length > MOST) {
      this.closed.length = MOST;
      this.forming = null;
      this.live = false;
    }
  }

  /**
   * Newer bars after the last one, of a window that does not end where its stream does; the oldest make room.
   * @param {Bar[]} bars
   * @param {Head} head
   * @param {boolean} live
   */
  append(bars, head, live) {
    for (const bar of bars) this.keep(bar);
    this.live = live;
    this.trim();
    if (live) this.caughtUp(head);
  }

  /** Drop the oldest where there are too many, a page at a time. @returns {boolean} whether any was */
  trim() {
    if (this.closed.length <= MOST) return false;
    this.closed.splice(0, this.closed.length - MOST + PAGE);
    this.older = true;
    return true;
  }

  /**
   * What the stream says besides bars, or where it stands (``said`` false).
   * @param {number} n
   * @param {boolean} said
   * @returns {boolean} whether something was missed: ask what has changed since ``this.n``
   */
  missed(n, said) {
    if (n > this.n + (said ? 1 : 0)) return true;
    this.n = Math.max(this.n, n);
    return false;
  }

  /**
   * What the stream says of a bar.
   * @param {number} n
   * @param {Bar} bar
   * @param {boolean} closed
   * @returns {"gap" | "known" | "forming" | "closed" | "revised"} a gap: ask what has changed since ``this.n``
   */
  take(n, bar, closed) {
    if (n > this.n + (closed ? 1 : 0)) return "gap";
    if (!closed) return this.live && n === this.n && this.form(bar) ? "forming" : "known";
    if (n <= this.n) return "known";
    this.n = n;
    return this.live ? this.keep(bar) : this.revise(bar) ? "revised" : "known";
  }

  /** @param {Bar} bar */
  form(bar) {
    const last = this.closed.at(-1);
    if (!this.live || (last && bar.time <= last.time)) return false;
    this.forming = bar;
    return true;
  }

  /**
   * @param {Bar} bar
   * @returns {"closed" | "revised" | "known"}
   */
  keep(bar) {
    const last = this.closed.at(-1);
    if (last && bar.time <= last.time) return this.revise(bar) ? "revised" : "known";
    this.closed.push(bar);
    if (this.forming && this.forming.time <= bar.time) this.forming = null;
    return "closed";
  }

  /** @param {Bar} bar */
  revise(bar) {
    const i = this.indexOf(bar.time);
    if (i >= 0 && i < this.closed.length && this.closed[i].time === bar.time) this.closed[i] = bar;
    else if (i >= 0 && i + 1 < this.closed.length) this.closed.splice(i + 1, 0, bar); // one that had been missing
    else return false;
    return true;
  }
}

/**
 * @param {Row} row
 * @param {string[]} origins
 * @returns {Bar}
 */
export function fromRow([time, open, high, low, close, volume, origin], origins) {
  return { time, open, high, low, close, volume, origin: origins[origin] ?? "" };
}
