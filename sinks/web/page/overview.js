// A run in a few figures, by the tester's names, and what it is made of.

import { price, signed } from "./format.js";
import { make } from "./header.js";
import { coloured } from "./tables.js";

/** @typedef {import("./report.js").Account} Account */

/** @param {string} sentence */
export function none(sentence) {
  return make("p", { class: "none" }, sentence);
}

/**
 * What one looks at first, by the tester's names.
 * @param {Account | null} account
 * @param {import("./statistics.js").Statistics} said
 * @param {number} count
 * @param {string} currency
 */
export function tiles(account, said, count, currency) {
  const { net_profit = NaN, open_profit = NaN, equity = NaN } = account ?? {};
  const capital = equity - net_profit - open_profit;
  const share = (/** @type {number} */ value) => `${signed((100 * value) / capital, 2)}%`;
  const figure = (/** @type {string} */ name) => (typeof said[name] === "number" ? Number(said[name]) : NaN);
  return [
    tile("Net profit", coloured(net_profit, `${signed(net_profit, 2)} ${currency}`), coloured(net_profit, share(net_profit))),
    tile("Open P&L", coloured(open_profit, signed(open_profit, 2)), coloured(open_profit, share(open_profit))),
    tile("Max equity drawdown", price(figure("Max Equity Drawdown"), 2), percent(figure("Max Equity Drawdown %"))),
    tile("Total trades", price(count, 0), ""),
    tile("Profitable trades", percent(figure("Percent Profitable")) || "—", fraction(figure("Winning Trades"), figure("Total Trades"))),
    tile("Profit factor", price(figure("Profit Factor"), 3), ""),
  ];
}

/** @param {number} value */
function percent(value) {
  return Number.isFinite(value) ? `${price(value, 2)}%` : "";
}

/** @param {number} part @param {number} whole */
function fraction(part, whole) {
  return Number.isFinite(part + whole) ? `${price(part, 0)}/${price(whole, 0)}` : "";
}

/** @param {string} name @param {Node | string} value @param {Node | string} more */
function tile(name, value, more) {
  return make("div", {}, make("dt", {}, name), make("dd", {}, value, make("small", {}, more)));
}

/** What runs, on what, with which inputs. @param {any} whole @param {string} name */
export function properties({ run, instrument, anchor }, name) {
  if (!run) return none("The stream has not said what runs.");
  /** @type {[string, string][]} */
  const rows = [
    ["Run", name],
    ["Script", run.script],
    ["Kind", run.kind],
    ["Stream", run.stream],
    ["Instrument", [instrument?.prefix, instrument?.ticker].filter(Boolean).join(":")],
    ["Bars before live", String(run.warmup)],
    ["Bars executed", anchor ? String(anchor[1] + 1) : "—"],
    ...run.contexts.map((/** @type {string} */ stream) => /** @type {[string, string]} */ (["Asks for", stream])),
    ...Object.entries(run.inputs).map(([input, value]) => /** @type {[string, string]} */ ([`Input ${input}`, String(value)])),
  ];
  if (Object.keys(run.inputs).length === 0) rows.push(["Inputs", "as the script has them"]);
  rows.push(["Fingerprint", run.fingerprint]);
  const lines = rows.map(([title, value]) => make("tr", {}, make("th", { scope: "row" }, title), make("td", {}, value)));
  return make("div", { class: "scroll" }, make("table", { class: "data properties", "data-testid": "properties" }, make("tbody", {}, ...lines)));
}
