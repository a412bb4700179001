// What one run has plotted, as the page holds it: a row a bar, a column a title, and the colours where they change.
// What is forming is the last row for as long as it forms: an update costs the same however many rows there are.

/**
 * A dynamic colour `#RRGGBBAA`, a list of them where a plot has several, null where Pine says na.
 * @typedef {any} Style
 */
/** @typedef {Record<string, number | string | boolean | null>} Values */
/** @typedef {{time: number, values: Values, styles: Record<string, Style>}} Forming */
/** @typedef {{times: number[], styles: Style[]}} Changes */

export class Rows {
  constructor() {
    /** @type {number[]} */
    this.times = [];
    /** @type {Map<string, number[]>} */
    this.columns = new Map();
    /** @type {Map<string, Changes>} */
    this.changes = new Map();
    /** @type {Forming | null} */
    this.forming = null;
    /** Pine's bar_index of the first row, if that is known. @type {number | null} */
    this.firstIndex = null;
  }

  get length() {
    return this.times.length + (this.forming ? 1 : 0);
  }

  /** @param {number} row */
  time(row) {
    return row < this.times.length || !this.forming ? this.times[row] : this.forming.time;
  }

  /**
   * NaN is Pine's na.
   * @param {string} title
   * @param {number} row
   */
  value(title, row) {
    if (row === this.times.length && this.forming) return own(this.forming.values, title);
    return this.columns.get(title)?.[row] ?? NaN;
  }

  /** All titles that have values. */
  get titles() {
    const titles = [...this.columns.keys()];
    return this.forming ? [...new Set([...titles, ...Object.keys(this.forming.values)])] : titles;
  }

  /**
   * The last row at or before a time, -1 if there is none.
   * @param {number} time
   */
  rowAt(time) {
    if (this.forming && time >= this.forming.time) return this.times.length;
    return after(this.times, time) - 1;
  }

  /**
   * A plot's dynamic style by row, for rows that are asked for from `first` on, ascending; undefined where none was
   * said up to there.
   * @param {string} id
   * @param {number} first
   * @returns {(row: number) => Style | undefined}
   */
  styles(id, first) {
    const { times, styles } = this.changes.get(id) ?? { times: [], styles: [] };
    let place = first < this.length ? after(times, this.time(first)) - 1 : -1;
    return (row) => {
      const now = row === this.times.length ? this.forming?.styles : undefined;
      if (now && Object.hasOwn(now, id)) return now[id];
      while (times[place + 1] <= this.time(row)) place++;
      return place < 0 ? undefined : styles[place];
    };
  }

  /**
   * Take a page of rows that touches those that are here, or takes their place where they overlap.
   * @param {Record<string, ArrayLike<number>>} columns with `time_ms`, ascending
   * @param {[number, string, Style][]} styles changes within, preceded by what held on the first row
   * @param {number | null} firstIndex
   */
  put(columns, styles, firstIndex) {
    const times = Array.from(columns.time_ms);
    if (!times.length) return;
    const low = after(this.times, times[0] - 1);
    const high = after(this.times, times[times.length - 1]);
    const length = this.times.length;
    if (low === 0) this.firstIndex = firstIndex;
    for (const title of new Set([...this.columns.keys(), ...Object.keys(columns)])) {
      if (title === "time_ms") continue;
      const column = this.columns.get(title) ?? new Array(length).fill(NaN);
      const news = columns[title] ? Array.from(columns[title]) : times.map(() => NaN);
      this.columns.set(title, [...column.slice(0, low), ...news, ...column.slice(high)]);
    }
    this.times = [...this.times.slice(0, low), ...times, ...this.times.slice(high)];
    this.putStyles(styles, times[0], times[times.length - 1]);
    if (this.forming && this.forming.time <= this.times[this.times.length - 1]) this.forming = null;
  }

  /**
   * @param {[number, string, Style][]} said
   * @param {number} from the span that they are all of
   * @param {number} to
   */
  putStyles(said, from, to) {
    /** @type {Map<string, Changes>} */
    const news = new Map();
    for (const [time, id, style] of said) {
      const changes = news.get(id) ?? { times: [], styles: [] };
      news.set(id, changes);
      changes.times.push(time);
      changes.styles.push(style);
    }
    for (const id of new Set([...this.changes.keys(), ...news.keys()])) {
      const known = this.changes.get(id) ?? { times: [], styles: [] };
      const put = news.get(id) ?? { times: [], styles: [] };
      const low = after(known.times, from - 1);
      const high = after(known.times, to);
      this.changes.set(id, {
        times: [...known.times.slice(0, low), ...put.times, ...known.times.slice(high)],
        styles: [...known.styles.slice(0, low), ...put.styles, ...known.styles.slice(high)],
      });
    }
  }

  /**
   * Take a closed bar's plots, the newest; those of the last one again take their place.
   * @param {number} time
   * @param {Values} values
   * @param {Record<string, Style>} styles
   */
  close(time, values, styles) {
    this.forming = null;
    const last = this.times.length - 1;
    if (time < this.times[last]) return;
    const row = time === this.times[last] ? last : last + 1;
    this.times[row] = time;
    for (const title of Object.keys(values)) {
      if (!this.columns.has(title)) this.columns.set(title, new Array(row).fill(NaN));
    }
    for (const [title, column] of this.columns) column[row] = own(values, title);
    for (const [id, style] of Object.entries(styles)) {
      const changes = this.changes.get(id) ?? { times: [], styles: [] };
      this.changes.set(id, changes);
      const place = after(changes.times, time - 1);
      changes.times[place] = time;
      changes.styles[place] = style;
    }
  }

  /**
   * Let go of what is outside of a span.
   * @param {number} from
   * @param {number} to
   */
  trim(from, to) {
    const low = after(this.times, from - 1);
    const high = after(this.times, to);
    this.times = this.times.slice(low, high);
    if (this.firstIndex !== null) this.firstIndex += low;
    for (const [title, column] of this.columns) this.columns.set(title, column.slice(low, high));
    for (const changes of this.changes.values()) {
      const begin = Math.max(after(changes.times, from) - 1, 0); // what holds on the first row stays
      const end = after(changes.times, to);
      changes.times = changes.times.slice(begin, end);
      changes.styles = changes.styles.slice(begin, end);
    }
  }
}

/**
 * How many of the sorted times are at or before one.
 * @param {number[]} times
 * @param {number} time
 */
function after(times, time) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** @param {Values} values @param {string} title */
function own(values, title) {
  const value = Object.hasOwn(values, title) ? values[title] : null;
  if (typeof value === "number") return value;
  return typeof value === "boolean" ? Number(value) : NaN;
}
