// The tables of a run: trades, orders, signals, words; each a list of columns, and a row for what it is given.

import { momentText, price, signed, size } from "./format.js";
import { make } from "./header.js";

/**
 * @typedef {{digits: number, mincontract: number, zone: import("./format.js").Zone, barMs: number, point: number}} Style  how
 *   prices, sizes and times are written
 * @typedef {import("./engine/markers.js").Trade} Trade
 * @typedef {import("./engine/markers.js").Holding} Holding
 * @typedef {{id: string, op: string, side: "buy" | "sell", size: number, size_of: string, kind: string, limit: number | null,
 *   stop: number | null, trail_offset: number | null, closes: string, oca: string, comment: string,
 *   stop_loss: number | null, take_profit: number | null}} Order
 * @typedef {{time_ms: number, action: string, price: number | null, position: number, target: number | null,
 *   reason: string, confidence: number | null, orders: Order[]}} Signal
 */

/**
 * @template T
 * @typedef {{name: string, number?: boolean, cell: (row: T) => Node | string}} Column
 */

/**
 * @template T
 * @param {string} id for tests
 * @param {Column<T>[]} columns
 * @param {T[]} rows
 * @param {(row: T) => string} [href] where a click on a row leads to
 */
export function table(id, columns, rows, href) {
  const head = columns.map(({ name, number }) => make("th", { scope: "col", class: number ? "number" : "" }, name));
  const body = make("tbody", {}, ...rows.map((row) => line(columns, row, href)));
  const whole = make("table", { class: href ? "data linked" : "data", "data-testid": id }, make("thead", {}, make("tr", {}, ...head)), body);
  return make("div", { class: "scroll" }, whole);
}

/**
 * @template T
 * @param {Column<T>[]} columns
 * @param {T} row
 * @param {(row: T) => string} [href]
 */
export function line(columns, row, href) {
  const cells = columns.map(({ number, cell }) => make("td", { class: number ? "number" : "" }, cell(row)));
  const made = make("tr", {}, ...cells);
  if (href) {
    const link = make("a", { href: href(row) }, ...cells[0].childNodes);
    cells[0].replaceChildren(link);
    made.addEventListener("click", (event) => {
      if (!(event.target instanceof HTMLAnchorElement)) link.click();
    });
  }
  return made;
}

/** @param {number | null | undefined} value @param {number} digits */
function orDash(value, digits) {
  return value === null || value === undefined ? "—" : price(value, digits);
}

/** @param {number} value @param {string} text */
export function coloured(value, text) {
  return make("span", { class: value > 0 ? "up" : value < 0 ? "down" : "" }, text);
}

/** @param {number} size */
export function sideOf(size) {
  return make("span", { class: size > 0 ? "side buy" : "side sell" }, size > 0 ? "Long" : "Short");
}

/** @param {Style} style @param {number} ms */
export function when({ zone, barMs }, ms) {
  return momentText(zone.at(ms), barMs);
}

/** @param {string} name @param {string} comment */
function named(name, comment) {
  return make("span", { class: "name", title: comment ? `${name}: ${comment}` : name }, comment || name || "—");
}

/**
 * What was earned of what was put in, in percent.
 * @param {{size: number, entry_price: number, profit: number}} trade
 * @param {number} point
 */
function share({ size, entry_price, profit }, point) {
  return `${signed((100 * profit) / (Math.abs(size) * entry_price * point), 2)}%`;
}

/** @param {Style} style @returns {Column<Trade & {number: number}>[]} */
export function tradeColumns(style) {
  const { digits, mincontract, point } = style;
  return [
    { name: "#", cell: ({ number }) => String(number) },
    { name: "Side", cell: ({ size }) => sideOf(size) },
    { name: "Size", number: true, cell: (trade) => size(Math.abs(trade.size), mincontract) },
    { name: "Entry", cell: ({ entry_ms }) => when(style, entry_ms) },
    { name: "Signal", cell: ({ entry_id, entry_comment }) => named(entry_id, entry_comment) },
    { name: "Price", number: true, cell: ({ entry_price }) => price(entry_price, digits) },
    { name: "Exit", cell: ({ exit_ms }) => when(style, exit_ms ?? 0) },
    { name: "Signal", cell: ({ exit_id, exit_comment }) => named(exit_id, exit_comment) },
    { name: "Price", number: true, cell: ({ exit_price }) => price(exit_price, digits) },
    { name: "P&L", number: true, cell: ({ profit }) => coloured(profit, signed(profit, 2)) },
    { name: "P&L %", number: true, cell: (trade) => coloured(trade.profit, share(trade, point)) },
    { name: "Run-up", number: true, cell: (trade) => price(Number(Reflect.get(trade, "max_runup")), 2) },
    { name: "Drawdown", number: true, cell: (trade) => price(Number(Reflect.get(trade, "max_drawdown")), 2) },
  ];
}

/** @param {Style} style @returns {Column<Holding>[]} */
export function holdingColumns(style) {
  return [
    { name: "Side", cell: ({ size }) => sideOf(size) },
    { name: "Size", number: true, cell: (held) => size(Math.abs(held.size), style.mincontract) },
    { name: "Since", cell: ({ entry_ms }) => when(style, entry_ms) },
    { name: "Signal", cell: ({ entry_id, comment }) => named(entry_id, comment) },
    { name: "Price", number: true, cell: ({ entry_price }) => price(entry_price, style.digits) },
    { name: "P&L", number: true, cell: ({ profit }) => coloured(profit, signed(profit, 2)) },
  ];
}

/** Without the columns of what no order has. @param {Style} style @param {Order[]} orders @returns {Column<Order>[]} */
export function orderColumns({ digits, mincontract }, orders) {
  /** @type {Column<Order>[]} */
  const columns = [
    { name: "Order", cell: ({ id, comment }) => named(id, comment) },
    { name: "Side", cell: ({ side }) => make("span", { class: `side ${side}` }, side === "buy" ? "Buy" : "Sell") },
    { name: "Size", number: true, cell: (order) => sizeOf(order, mincontract) },
    { name: "Kind", cell: ({ kind }) => kind },
    { name: "Limit", number: true, cell: ({ limit, take_profit }) => orDash(limit ?? take_profit, digits) },
    { name: "Stop", number: true, cell: ({ stop, stop_loss }) => orDash(stop ?? stop_loss, digits) },
    { name: "Trail", number: true, cell: ({ trail_offset }) => orDash(trail_offset, digits) },
    { name: "Closes", cell: ({ closes }) => closes || "—" },
  ];
  return columns.filter(({ cell }) => orders.some((order) => cell(order) !== "—"));
}

/** @param {Order} order @param {number} mincontract */
function sizeOf(order, mincontract) {
  return order.size_of === "available" ? `${price(100 * order.size, 0)}%` : size(order.size, mincontract);
}

/** @param {Style} style @returns {Column<Signal>[]} */
export function signalColumns(style) {
  return [
    { name: "Bar", cell: ({ time_ms }) => when(style, time_ms) },
    { name: "Action", cell: ({ action }) => make("span", { class: `side ${action}` }, action) },
    { name: "Close", number: true, cell: (signal) => orDash(signal.price, style.digits) },
    { name: "Position", number: true, cell: ({ position }) => size(position, style.mincontract) },
    { name: "Target", number: true, cell: ({ target }) => (target === null ? "—" : size(target, style.mincontract)) },
    { name: "Orders", cell: ({ orders }) => orders.map((order) => orderText(order, style)).join(", ") || "—" },
    { name: "Reason", cell: ({ reason }) => reason || "—" },
    { name: "Confidence", number: true, cell: ({ confidence }) => (confidence === null ? "—" : `${price(100 * confidence, 0)}%`) },
  ];
}

/** @param {Order} order @param {Style} style */
function orderText(order, { digits, mincontract }) {
  const { op, id, side, kind, limit, stop } = order;
  const prices = [limit, stop].filter((value) => value !== null).map((value) => price(/** @type {number} */ (value), digits));
  return [op === "place" ? "" : op, side, sizeOf(order, mincontract), kind, ...prices, `“${id}”`].filter(Boolean).join(" ");
}

/** @param {Style} style @returns {Column<{time_ms: number, level: string, text: string}>[]} */
export function logColumns(style) {
  return [
    { name: "Bar", cell: ({ time_ms }) => when(style, time_ms) },
    { name: "Level", cell: ({ level }) => make("span", { class: `level ${level}` }, level) },
    { name: "Text", cell: ({ text }) => make("span", { class: "words" }, text) },
  ];
}
