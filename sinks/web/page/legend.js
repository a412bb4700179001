// What is written over the chart: the symbol, how its stream is, the values of the bar under the crosshair, and of
// the scripts in each pane.

import { age, amount, change, price, timeframeText } from "./format.js";
import { STAND_IN } from "./engine/origins.js";
import { make } from "./header.js";
import { partsOf } from "./streams.js";

/**
 * @typedef {import("./window.js").Bar} Bar
 * @typedef {import("./streams.js").Stream} Stream
 * @typedef {{title: string, text: string, color: string | null}} Value
 * @typedef {{run: string, title: string, pane: import("lightweight-charts").IPaneApi<any> | null, values: Value[]}} Entry
 *   a script in a pane, `null` is the one with the candles
 */

/** What a state means to whoever looks at the chart. @type {Record<string, string>} */
export const STATES = {
  live: "live",
  stale: "stale",
  down: "down",
  healing: "healing",
  closed: "market closed",
  ended: "ended",
};

export class Legend {
  /** @param {HTMLElement} element over the chart, of its size */
  constructor(element) {
    this.element = element;
    this.name = make("span", { class: "symbol", "data-testid": "legend-symbol" });
    this.badge = make("span", { class: "badge", "data-testid": "state" }, make("i", { class: "dot" }), make("span"));
    this.values = make("div", { class: "values", "data-testid": "legend" });
    this.scripts = make("div", { class: "scripts" });
    this.main = make("div", { class: "legend" }, make("div", { class: "title" }, this.name, this.badge), this.values, this.scripts);
    /** @type {Map<object, HTMLElement>} boxes of the panes below */
    this.panes = new Map();
    element.append(this.main);
  }

  /** @param {Stream | undefined} row @param {string} stream */
  showStream(row, stream) {
    const { source, symbol, timeframe } = partsOf(stream);
    this.name.replaceChildren(symbol, make("small", {}, `${timeframeText(timeframe)} · ${source}`));
    this.name.title = row?.instrument?.description ?? "";
    const state = row?.state ?? "waiting";
    this.badge.dataset.state = state;
    this.badge.title = row?.reason ?? "";
    const lasts = row && state !== "live" && state !== "ended" ? Date.now() - row.since_ms : -1;
    const since = lasts > 1000 && lasts < 4e9 ? ` · ${age(lasts)}` : "";
    /** @type {HTMLElement} */ (this.badge.lastChild).textContent = (STATES[state] ?? state) + since;
  }

  /**
   * @param {Bar | undefined} bar
   * @param {Bar | undefined} before the one that its change is counted from
   * @param {number} digits
   */
  showBar(bar, before, digits) {
    if (!bar) {
      this.values.replaceChildren();
      return;
    }
    const way = bar.close < bar.open ? "down" : "up";
    const one = (/** @type {string} */ name, /** @type {string} */ text) =>
      make("span", {}, make("i", {}, name), make("b", { class: way }, text));
    const moved = make("span", {}, make("b", { class: way }, before ? change(before.close, bar.close, digits) : ""));
    this.values.replaceChildren(
      one("O", price(bar.open, digits)),
      one("H", price(bar.high, digits)),
      one("L", price(bar.low, digits)),
      one("C", price(bar.close, digits)),
      moved,
      one("Vol", amount(bar.volume)),
    );
    if (bar.origin && bar.origin !== "venue") {
      const badge = make("span", { class: "badge", title: "Where this bar comes from", "data-testid": "origin" }, bar.origin);
      if (STAND_IN.has(bar.origin)) badge.dataset.state = bar.origin === "fallback" ? "down" : "stale";
      this.values.append(badge);
    }
  }

  /** @param {Entry[]} entries */
  showScripts(entries) {
    this.scripts.replaceChildren(...entries.filter(({ pane }) => pane === null).map(entryLine));
    const below = Map.groupBy(entries, ({ pane }) => pane);
    for (const [pane, box] of this.panes) {
      if (!below.has(/** @type {any} */ (pane))) {
        box.remove();
        this.panes.delete(pane);
      }
    }
    for (const [pane, lines] of below) if (pane) this.boxOf(pane).replaceChildren(...lines.map(entryLine));
  }

  /** @param {import("lightweight-charts").IPaneApi<any>} pane */
  boxOf(pane) {
    let box = this.panes.get(pane);
    if (!box) {
      box = make("div", { class: "legend", "data-testid": "pane-legend" });
      this.panes.set(pane, box);
      this.element.append(box);
    }
    const top = pane.getHTMLElement()?.getBoundingClientRect().top ?? 0;
    box.style.top = `${top - this.element.getBoundingClientRect().top + 4}px`;
    return box;
  }
}

/** @param {Entry} entry */
function entryLine({ run, title, values }) {
  const texts = values.map(({ title: name, text, color }) => {
    const value = make("b", { title: name }, text);
    value.style.color = color ?? "";
    return value;
  });
  return make("div", { class: "script", "data-run": run }, make("span", {}, title), ...texts);
}
