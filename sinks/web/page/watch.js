// The watch list, a line a symbol, and the search over all streams.

import { digits, partsOf } from "./streams.js";
import { percent, price, timeframeText } from "./format.js";
import { make } from "./header.js";

/**
 * @typedef {import("./streams.js").Stream} Stream
 * @typedef {import("./streams.js").Streams} Streams
 */

export class WatchList {
  /**
   * @param {HTMLElement} element
   * @param {Streams} streams
   * @param {(stream: string) => void} choose
   */
  constructor(element, streams, choose) {
    this.element = element;
    this.streams = streams;
    this.choose = choose;
    /** @type {Map<string, Line>} */
    this.lines = new Map();
  }

  /** Show what the streams are now. @param {string} current */
  show(current) {
    const symbols = this.streams.symbols();
    for (const [symbol, line] of this.lines) if (!symbols.has(symbol)) this.drop(symbol, line);
    const wanted = partsOf(current).timeframe;
    this.element.dataset.sources = String(new Set([...symbols.keys()].map((name) => partsOf(name).source)).size);
    for (const [symbol, rows] of symbols) {
      const row = rows.find((each) => each.timeframe === wanted) ?? rows[0];
      let line = this.lines.get(symbol);
      if (!line) {
        line = new Line(symbol, (stream) => this.choose(stream));
        this.lines.set(symbol, line);
        this.element.append(line.button);
      }
      line.show(row, rows.some((each) => each.stream === current));
    }
  }

  /**
   * @param {string} symbol
   * @param {Line} line
   */
  drop(symbol, line) {
    line.button.remove();
    this.lines.delete(symbol);
  }

  /** The stream of the line that is so many lines further, around the ends. @param {string} current @param {number} step */
  next(current, step) {
    const lines = [...this.lines.values()];
    const at = lines.findIndex(({ button }) => button.getAttribute("aria-current") === "true");
    return lines.length ? lines[(at + step + lines.length) % lines.length].stream : current;
  }
}

class Line {
  /**
   * @param {string} symbol
   * @param {(stream: string) => void} choose
   */
  constructor(symbol, choose) {
    const { source, symbol: name } = partsOf(`${symbol}@`);
    this.stream = "";
    this.price = make("span", { class: "price" });
    this.change = make("span", { class: "change" });
    this.dot = make("i", { class: "dot" });
    this.button = make(
      "button",
      { class: "line", type: "button", "data-testid": "watch", "data-symbol": symbol },
      this.dot,
      make("span", { class: "name" }, name, make("small", {}, source)),
      this.price,
      this.change,
    );
    this.button.addEventListener("click", () => choose(this.stream));
  }

  /**
   * @param {Stream} row
   * @param {boolean} current
   */
  show(row, current) {
    const close = row.last?.[4] ?? NaN;
    const from = row.previous_close ?? NaN;
    this.stream = row.stream;
    this.button.title = [row.instrument?.description, row.state, row.reason].filter(Boolean).join(" · ");
    this.button.setAttribute("aria-current", String(current));
    this.dot.dataset.state = row.state;
    this.price.textContent = price(close, digits(row));
    this.change.textContent = percent(from, close);
    this.change.className = `change ${close > from ? "up" : close < from ? "down" : ""}`;
  }
}

/** The dialog that finds a stream by what is typed. */
export class Search {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {Streams} streams
   * @param {(stream: string) => void} choose
   */
  constructor(dialog, streams, choose) {
    this.dialog = dialog;
    this.streams = streams;
    this.choose = choose;
    this.input = /** @type {HTMLInputElement} */ (dialog.querySelector("input"));
    this.list = /** @type {HTMLElement} */ (dialog.querySelector("[role=listbox]"));
    this.at = 0;
    this.input.addEventListener("input", () => this.show(0));
    this.input.addEventListener("keydown", (event) => this.key(event));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }

  open() {
    this.input.value = "";
    this.show(0);
    this.dialog.showModal();
  }

  found() {
    const words = this.input.value.toLowerCase().split(/\s+/);
    return [...this.streams.symbols().values()].flat().filter((row) => {
      const text = `${row.stream} ${row.instrument?.description ?? ""}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }

  /** @param {number} at */
  show(at) {
    const rows = this.found().slice(0, 50);
    this.at = Math.max(0, Math.min(at, rows.length - 1));
    this.list.replaceChildren(...rows.map((row, i) => this.line(row, i === this.at)));
    if (rows.length === 0) this.list.append(make("p", { class: "muted" }, "No stream is called so."));
    this.list.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }

  /**
   * @param {Stream} row
   * @param {boolean} selected
   */
  line(row, selected) {
    const { source, symbol, timeframe } = partsOf(row.stream);
    const line = make(
      "div",
      { role: "option", class: "line", "aria-selected": String(selected), "data-stream": row.stream },
      make("i", { class: "dot", "data-state": row.state }),
      make("span", { class: "name" }, symbol, make("small", {}, row.instrument?.description ?? "")),
      make("span", { class: "muted" }, source),
      make("span", { class: "badge" }, timeframeText(timeframe)),
    );
    line.addEventListener("click", () => this.take(row.stream));
    return line;
  }

  /** @param {string} stream */
  take(stream) {
    this.dialog.close();
    this.choose(stream);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key === "ArrowDown") this.show(this.at + 1);
    else if (event.key === "ArrowUp") this.show(this.at - 1);
    else if (event.key === "Enter") {
      const row = this.found()[this.at];
      if (row) this.take(row.stream);
    } else return;
    event.preventDefault();
  }
}
