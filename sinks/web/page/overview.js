// A run in a few figures, by the tester's names, and what it is made of.

import { price, signed, size } from "./format.js";
import { make } from "./header.js";
import { coloured } from "./tables.js";

/** @typedef {import("./report.js").Account} Account */

/** @param {string} sentence */
export function none(sentence) {
  return make("p", { class: "none" }, sentence);
}

/**
 * Why a script that was never live has neither traded nor alerted; empty where it was.
 * @param {{state: string, since_ms: number}} condition
 * @param {number} bars that were executed
 * @param {number} warmup what its runner's history says
 */
export function warmUp({ state, since_ms }, bars, warmup) {
  if (since_ms !== 0 || bars === 0) return "";
  return state === "ended" ? `All ${bars} bars were warm-up: history = ${warmup}` : `Warming up: history = ${warmup}`;
}

/** The same on a run's page, with what mends it. @param {any} whole `/api/run` */
export function note({ anchor, run, ...condition }) {
  const words = run ? warmUp(condition, anchor ? anchor[1] + 1 : 0, run.warmup) : "";
  if (condition.state !== "ended" || !words) return [words];
  const not = run.kind === "strategy" ? "nothing was traded" : "no alert was raised";
  return [make("b", {}, `${words}.`), ` They have plots, but ${not}: give its [[runner]] a smaller history, or its stream more bars.`];
}

/**
 * What one looks at first, by the tester's names.
 * @param {Account | null} account
 * @param {import("./statistics.js").Statistics} said
 * @param {number} count
 * @param {string} currency
 */
export function tiles(account, said, count, currency) {
  const { net_profit = NaN, open_profit = NaN } = account ?? {};
  const capital = account ? capitalOf(account) : NaN;
  const share = (/** @type {number} */ value) => (account ? `${signed((100 * value) / capital, 2)}%` : "");
  const figure = (/** @type {string} */ name) => (typeof said[name] === "number" ? Number(said[name]) : NaN);
  return [
    tile("Net profit", coloured(net_profit, account ? `${signed(net_profit, 2)} ${currency}` : "—"), coloured(net_profit, share(net_profit))),
    tile("Open P&L", coloured(open_profit, signed(open_profit, 2)), coloured(open_profit, share(open_profit))),
    tile("Max equity drawdown", price(figure("Max Equity Drawdown"), 2), percent(figure("Max Equity Drawdown %"))),
    tile("Total trades", price(count, 0), ""),
    tile("Profitable trades", percent(figure("Percent Profitable")) || "—", fraction(figure("Winning Trades"), figure("Total Trades"))),
    tile("Profit factor", price(figure("Profit Factor"), 3), ""),
  ];
}

/** What the run has begun with. @param {Account} account */
function capitalOf({ equity, net_profit, open_profit }) {
  return equity - net_profit - open_profit;
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
export function properties({ run, instrument, anchor, account }, name) {
  if (!run) return none("The stream has not said what runs.");
  /** @type {[string, string][]} */
  const rows = [
    ["Run", name],
    ["Script", run.script],
    ["Kind", run.kind],
    ["Stream", run.stream],
    ["Instrument", [instrument?.prefix, instrument?.ticker].filter(Boolean).join(":")],
    ...(account ? [/** @type {[string, string]} */ (["Initial capital", price(capitalOf(account), 2)])] : []),
    ["Currency", instrument?.currency ?? "—"],
    ["Smallest contract", instrument ? size(instrument.mincontract, instrument.mincontract) : "—"],
    ["Bars before live", String(run.warmup)],
    ["Bars executed", anchor ? String(anchor[1] + 1) : "—"],
    ...run.contexts.map((/** @type {string} */ stream) => /** @type {[string, string]} */ (["Asks for", stream])),
    ...Object.entries(run.inputs).map(([input, value]) => /** @type {[string, string]} */ ([`Input ${input}`, String(value)])),
  ];
  const others = Object.keys(run.inputs).length === 0 ? "" : "the others ";
  rows.push(["Inputs", `${others}as the script has them`]);
  if (run.kind === "strategy") rows.push(["Order size, commission", "as the script has them"]);
  rows.push(["Fingerprint", run.fingerprint]);
  const lines = rows.map(([title, value]) => make("tr", {}, make("th", { scope: "row" }, title), make("td", {}, value)));
  return make("div", { class: "scroll" }, make("table", { class: "data properties", "data-testid": "properties" }, make("tbody", {}, ...lines)));
}
