// A strategy's figures by the names of TradingView's Strategy Tester. What stands behind each name is PyneCore's.

import { price, size } from "./format.js";
import { make } from "./header.js";

/**
 * @typedef {Record<string, number | string | null>} Statistics  by PyneCore's names
 * @typedef {"money" | "loss" | "count" | "ratio" | "percent" | "size"} Kind  a loss is said as an amount
 * @typedef {{name: string, kind: Kind, all: string, long?: string, short?: string}} Row
 */

/** @param {string} name @param {Kind} kind @param {string} all @param {string} [side] the name of it with Long and Short before */
const row = (name, kind, all, side) => ({ name, kind, all, ...(side ? { long: `Long ${side}`, short: `Short ${side}` } : {}) });

/** @type {[string, Row[]][]} */
const GROUPS = [
  [
    "Performance",
    [
      row("Net profit", "money", "Net Profit", "Net Profit"),
      row("Gross profit", "money", "Gross Profit", "Gross Profit"),
      row("Gross loss", "loss", "Gross Loss", "Gross Loss"),
      row("Commission paid", "money", "Commission Paid"),
      row("Buy & hold return", "money", "Buy & Hold Return"),
      row("Max equity run-up", "money", "Max Equity Run-up"),
      row("Max equity drawdown", "money", "Max Equity Drawdown"),
      row("Max contracts held", "size", "Max Contracts Held"),
    ],
  ],
  [
    "Trades analysis",
    [
      row("Total trades", "count", "Total Trades", "Trades"),
      row("Winning trades", "count", "Winning Trades", "Winning Trades"),
      row("Losing trades", "count", "Losing Trades", "Losing Trades"),
      row("Percent profitable", "percent", "Percent Profitable", "Percent Profitable"),
      row("Avg P&L", "money", "Avg Trade", "Avg Trade"),
      row("Avg winning trade", "money", "Avg Winning Trade"),
      row("Avg losing trade", "loss", "Avg Losing Trade"),
      row("Ratio avg win / avg loss", "ratio", "Ratio Avg Win/Loss"),
      row("Largest winning trade", "money", "Largest Winning Trade", "Largest Winning Trade"),
      row("Largest losing trade", "loss", "Largest Losing Trade", "Largest Losing Trade"),
      row("Avg # bars in trades", "ratio", "Avg # Bars in Trades", "Avg # Bars"),
      row("Avg # bars in winning trades", "ratio", "Avg # Bars in Winning Trades"),
      row("Avg # bars in losing trades", "ratio", "Avg # Bars in Losing Trades"),
      row("Max consecutive wins", "count", "Max Consecutive Wins"),
      row("Max consecutive losses", "count", "Max Consecutive Losses"),
    ],
  ],
  [
    "Risk/performance ratios",
    [
      row("Sharpe ratio", "ratio", "Sharpe Ratio"),
      row("Sortino ratio", "ratio", "Sortino Ratio"),
      row("Profit factor", "ratio", "Profit Factor"),
      row("Margin calls", "count", "Margin Calls"),
    ],
  ],
];

/** With what PyneCore says of both sides together only. @param {Statistics} said @returns {Statistics} */
function completed(said) {
  const whole = { ...said };
  for (const side of ["Long", "Short"]) {
    const [trades, won] = [said[`${side} Trades`], said[`${side} Winning Trades`]].map(Number);
    if (!(trades >= 0)) continue;
    whole[`${side} Percent Profitable`] = trades > 0 ? (100 * won) / trades : null;
  }
  return whole;
}

/**
 * The figure of a name, and its share in percent where there is one.
 * @param {Statistics} said
 * @param {string | undefined} name
 * @param {Kind} kind
 * @param {number} mincontract
 */
function figure(said, name, kind, mincontract) {
  const value = name === undefined ? undefined : said[name];
  if (value === undefined) return "";
  if (value === null) return "—";
  if (typeof value === "string") return value;
  if (kind === "loss") return price(Math.abs(value), 2);
  if (kind === "percent") return `${price(value, 2)}%`;
  return kind === "count" ? price(value, 0) : kind === "size" ? size(value, mincontract) : price(value, kind === "ratio" ? 3 : 2);
}

/** @param {Statistics} said @param {string | undefined} name @param {Kind} kind */
function share(said, name, kind) {
  const value = said[`${name} %`];
  return typeof value === "number" ? `${price(kind === "loss" ? Math.abs(value) : value, 2)}%` : "";
}

/**
 * The tables of the tester: all, long, short.
 * @param {Statistics} statistics
 * @param {number} mincontract
 * @returns {HTMLElement[]}
 */
export function statisticsTables(statistics, mincontract) {
  const said = completed(statistics);
  return GROUPS.map(([title, rows]) => {
    const lines = rows
      .filter(({ all }) => said[all] !== undefined)
      .map(({ name, kind, all, long, short }) => {
        const cells = [all, long, short].map((key) =>
          make("td", { class: "number" }, figure(said, key, kind, mincontract), make("span", { class: "share" }, share(said, key, kind))),
        );
        return make("tr", {}, make("th", { scope: "row" }, name), ...cells);
      });
    const head = ["", "All", "Long", "Short"].map((text) => make("th", { class: "number", scope: "col" }, text));
    const table = make("table", { class: "data figures" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...lines));
    return make("section", {}, make("h3", {}, title), table);
  });
}
