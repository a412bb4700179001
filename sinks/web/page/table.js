// A table whose rows stay while their cells change: what one has selected or hovers over is not torn away.

import { make } from "./header.js";

/**
 * @template Row
 * @typedef {{title: string, text: (row: Row) => string, number?: boolean, by?: (row: Row) => number | string,
 *   state?: (row: Row) => string, hint?: string, said?: (row: Row) => string}} Column
 * `by` sorts where the text does not; `state` makes a badge of it; `said` is what a pointer over the cell is told
 */

/** @template Row */
export class DataTable {
  /**
   * @param {HTMLElement} host
   * @param {Column<Row>[]} columns
   * @param {(row: Row) => string} key
   * @param {string} nothing what is said when there are no rows
   */
  constructor(host, columns, key, nothing) {
    this.columns = columns;
    this.key = key;
    /** @type {Row[]} */
    this.rows = [];
    /** @type {Map<string, HTMLElement>} */
    this.drawn = new Map();
    this.sorted = -1;
    this.falling = false;
    this.heads = columns.map((column, place) => this.head(column, place));
    this.body = make("tbody");
    this.nothing = make("div", { class: "empty" }, nothing);
    this.table = make("table", { class: "data" }, make("thead", {}, make("tr", {}, ...this.heads)), this.body);
    host.replaceChildren(this.table, this.nothing);
  }

  /**
   * @param {Column<Row>} column
   * @param {number} place
   */
  head({ title, number, hint }, place) {
    const button = make("button", { type: "button", title: hint ?? `Sort by ${title}` }, title);
    button.addEventListener("click", () => this.sort(place));
    return make("th", { scope: "col", class: number ? "number" : "" }, button);
  }

  /** @param {number} place of the column; a second time the other way round, a third time not at all */
  sort(place) {
    const numbers = this.columns[place].number === true;
    if (this.sorted !== place) [this.sorted, this.falling] = [place, numbers];
    else if (this.falling === numbers) this.falling = !numbers;
    else this.sorted = -1;
    this.heads.forEach((head, at) => {
      if (at === this.sorted) head.setAttribute("aria-sort", this.falling ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    this.update(this.rows);
  }

  /** @param {Row[]} rows */
  update(rows) {
    this.rows = rows;
    const wanted = this.ordered();
    const keys = new Set(wanted.map(this.key));
    for (const [key, drawn] of this.drawn) {
      if (keys.has(key)) continue;
      drawn.remove();
      this.drawn.delete(key);
    }
    wanted.forEach((row, at) => {
      const drawn = this.drawn.get(this.key(row)) ?? this.made(row);
      this.fill(drawn, row);
      if (this.body.children[at] !== drawn) this.body.insertBefore(drawn, this.body.children[at] ?? null);
    });
    this.table.hidden = rows.length === 0;
    this.nothing.hidden = rows.length > 0;
  }

  ordered() {
    const column = this.columns[this.sorted];
    if (column === undefined) return this.rows;
    const by = column.by ?? column.text;
    const way = this.falling ? -1 : 1;
    return this.rows.toSorted((a, b) => {
      const [x, y] = [by(a), by(b)];
      return way * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
    });
  }

  /** @param {Row} row */
  made(row) {
    const cells = this.columns.map(({ number, state }) => {
      const cell = make("td", { class: number ? "number" : "" });
      if (state) cell.append(make("span", { class: "badge" }, make("i", { class: "dot" }), make("span")));
      return cell;
    });
    const drawn = make("tr", { "data-key": this.key(row) }, ...cells);
    this.drawn.set(this.key(row), drawn);
    return drawn;
  }

  /**
   * @param {HTMLElement} drawn
   * @param {Row} row
   */
  fill(drawn, row) {
    this.columns.forEach(({ text, state, said }, place) => {
      const cell = /** @type {HTMLElement} */ (drawn.children[place]);
      const badge = /** @type {HTMLElement} */ (cell.firstElementChild ?? cell);
      const target = state ? /** @type {HTMLElement} */ (badge.lastElementChild) : cell;
      const now = text(row);
      if (target.textContent !== now) target.textContent = now;
      if (state && badge.dataset.state !== state(row)) badge.dataset.state = state(row);
      if (said && cell.title !== said(row)) cell.title = said(row);
    });
  }
}
