// One run: its figures, its equity, what it holds, and all that it has said.

import { mountAlerts } from "./alerts.js";
import { EquityCurve } from "./engine/curve.js";
import { digitsOf, price, signed, size, zoneOf } from "./format.js";
import { make } from "./header.js";
import { none, note, properties, tiles } from "./overview.js";
import { recall, remember } from "./settings.js";
import { statisticsTables } from "./statistics.js";
import { coloured, holdingColumns, line, logColumns, orderColumns, sideOf, signalColumns, table, tradeColumns, when } from "./tables.js";
import { getJson } from "./wire.js";

/**
 * @typedef {import("./wire.js").Live} Live
 * @typedef {import("./engine/curve.js").Point} Point
 * @typedef {import("./tables.js").Signal} Signal
 * @typedef {import("./engine/markers.js").Trade & {number: number}} Trade
 * @typedef {{time_ms: number, position: number, average_price: number | null, equity: number, open_profit: number,
 *   net_profit: number, statistics?: import("./statistics.js").Statistics,
 *   open_trades: import("./engine/markers.js").Holding[], orders: import("./tables.js").Order[]}} Account
 */

const MOST_ROWS = 500;
const MOST_POINTS = 2_000;
const PAINT_MS = 200;
const DAY_MS = 86_400_000;

export class Report {
  /**
   * @param {HTMLElement} element
   * @param {Live} live
   * @param {string} run
   */
  constructor(element, live, run) {
    this.element = element;
    this.live = live;
    this.run = run;
    /** @type {any} what `/api/run` says, kept up to date */
    this.whole = null;
    /** @type {Trade[]} the newest first, as the signals and logs are */
    this.trades = [];
    /** @type {Signal[]} */
    this.signals = [];
    /** @type {Point[]} */
    this.points = [];
    this.peak = -Infinity;
    /** The change numbers that the answers were made at: what is told with a lower one is in them. */
    this.known = { run: 0, trades: 0, signals: 0, pnl: 0 };
    /** @type {EquityCurve | null} */
    this.curve = null;
    this.loads = 0;
    /** @type {(() => void)[] | null} what was told since the answer was asked for */
    this.waiting = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.tab = recall("strategy-tab", "Trades");
    this.endAlerts = () => {};
    this.deaf = this.listen();
    if (live.state === "live") this.load();
  }

  /** Leave the element. */
  close() {
    this.loads++;
    clearTimeout(this.timer);
    this.endAlerts();
    this.curve?.remove();
    for (const end of this.deaf) end();
    this.element.replaceChildren();
  }

  // ---- what it hears ----

  /** What is told while an answer is awaited may not be in it: it is taken behind the answer. */
  listen() {
    /** @param {string} kind @param {(n: number, ...what: any[]) => void} take */
    const on = (kind, take) =>
      this.live.on(kind, (stream, n, ...what) => {
        if (stream !== this.run) return;
        if (this.waiting) this.waiting.push(() => take(n, ...what));
        else if (this.whole) take(n, ...what);
      });
    const anew = ["hello", "r", "reset", "new"].map((kind) =>
      this.live.on(kind, (stream) => void ((kind === "hello" || stream === this.run) && this.load())),
    );
    return [
      ...anew,
      on("n", (n) => void (n > this.known.run && this.load())),
      on("o", (n, account) => this.settle(n, account)),
      on("f", (n, fill) => void (n > this.known.trades && this.addTrade(fill))),
      on("g", (n, signal) => void (n > this.known.signals && this.addSignal(signal))),
      on("l", (n, log) => void (n > this.known.run && this.addLog(log))),
      on("s", (n, state, since_ms, reason) => void (n > this.known.run && this.turn({ state, since_ms, reason }))),
    ];
  }

  async load() {
    const load = ++this.loads;
    const { run } = this;
    this.waiting ??= [];
    try {
      const [whole, trades, signals, pnl] = await Promise.all([
        getJson("/api/run", { run }),
        getJson("/api/trades", { run, limit: MOST_ROWS }),
        getJson("/api/signals", { run, limit: MOST_ROWS }),
        getJson("/api/pnl", { run, points: MOST_POINTS }),
      ]);
      if (load !== this.loads) return;
      this.known = { run: whole.n, trades: trades.n, signals: signals.n, pnl: pnl.n };
      this.whole = whole;
      this.whole.logs.reverse();
      this.trades = numbered(trades.trades, trades.count);
      this.signals = signals.signals.reverse();
      this.points = pnl.points;
      this.peak = pnl.peak ?? -Infinity;
      this.build();
      const waited = this.waiting ?? [];
      this.waiting = null;
      for (const take of waited) take();
    } catch (error) {
      if (load === this.loads && !this.whole) this.refuse(/** @type {Error} */ (error).message);
    }
  }

  /** @param {string} sentence */
  refuse(sentence) {
    const back = make("a", { href: "/strategy" }, "All runs");
    this.element.replaceChildren(make("div", { class: "empty", "data-testid": "no-run" }, make("strong", {}, "Not there"), `${sentence}. `, back));
  }

  /** @param {number} n @param {Account} account */
  settle(n, account) {
    if (n > this.known.run) {
      const { statistics, ...book } = account;
      this.whole.account = book;
      Object.assign(this.whole.statistics, statistics);
    }
    if (n > this.known.pnl) {
      this.peak = Math.max(this.peak, account.equity - account.open_profit);
      /** @type {Point} */
      const point = [account.time_ms, account.equity, Math.max(this.peak - account.equity, 0)];
      if (account.time_ms > (this.points.at(-1)?.[0] ?? -Infinity)) this.points.push(point), this.curve?.add(point);
    }
    if (this.points.length > 4 * MOST_POINTS) this.load();
    this.later();
  }

  /** @param {Trade} fill */
  addTrade(fill) {
    const trade = { ...fill, number: (this.trades[0]?.number ?? 0) + 1 };
    this.trades.unshift(trade);
    this.prepend("trades", line(tradeColumns(this.style), trade, (each) => this.chartAt(each.entry_ms)));
  }

  /** @param {Signal} signal */
  addSignal(signal) {
    this.signals.unshift(signal);
    this.prepend("signals", line(signalColumns(this.style), signal, (each) => this.chartAt(each.time_ms)));
  }

  /** @param {{time_ms: number, level: string, text: string}} log */
  addLog(log) {
    this.whole.logs.unshift(log);
    this.prepend("logs", line(logColumns(this.style), log));
  }

  /** @param {string} id @param {HTMLElement} row */
  prepend(id, row) {
    this.element.querySelector(`[data-testid="${id}"] tbody`)?.prepend(row);
    this.later();
  }

  /** @param {{state: string, since_ms: number, reason: string}} condition */
  turn(condition) {
    Object.assign(this.whole, condition);
    condition.state === "ended" ? this.load() : this.later();
  }

  // ---- what it shows ----

  get style() {
    const { instrument } = this.whole;
    const zone = recall("zone", "exchange");
    return {
      digits: digitsOf(instrument?.mintick ?? 0.01),
      mincontract: instrument?.mincontract ?? 1e-5,
      zone: zoneOf(zone === "exchange" ? (instrument?.timezone ?? "UTC") : zone),
      barMs: /[DWM]$/.test(instrument?.timeframe ?? "") ? DAY_MS : 60_000,
      point: instrument?.pointvalue ?? 1,
    };
  }

  get strategy() {
    return this.whole.run?.kind === "strategy";
  }

  /** The chart at a time. @param {number} ms */
  chartAt(ms) {
    return `/?${new URLSearchParams({ stream: this.whole.run?.stream ?? "", run: this.run, at: String(ms) })}`;
  }

  build() {
    const { run } = this.whole;
    this.parts = {
      state: make("span", {}),
      note: make("p", { class: "note", "data-testid": "note" }),
      tiles: make("dl", { class: "tiles", "data-testid": "tiles" }),
      book: make("section", { class: "book panel", "data-testid": "book" }),
      tabs: make("div", { class: "tabs", role: "tablist" }),
      shown: make("div", { class: "shown", role: "tabpanel", tabindex: "0" }),
    };
    const chart = make("a", { class: "button outlined", href: `/?${new URLSearchParams({ stream: run?.stream ?? "", run: this.run })}`, "data-testid": "open-chart" }, "Open chart");
    const head = make(
      "header",
      { class: "head" },
      make("a", { class: "back", href: "/strategy", "aria-label": "All runs" }, "‹ All runs"),
      make("h1", {}, run?.title || this.run.replace(/^run:/, "")),
      this.parts.state,
      make("span", { class: "muted" }, run?.stream ?? ""),
      chart,
    );
    const middle = this.strategy ? [this.parts.tiles, make("div", { class: "middle" }, this.equity(), this.parts.book)] : [];
    this.element.replaceChildren(head, this.parts.note, ...middle, this.parts.tabs, this.parts.shown);
    if (!this.tabs().includes(this.tab)) this.tab = this.tabs()[0];
    this.show(this.tab);
    this.paint();
  }

  equity() {
    const legend = make("div", { class: "legend", "data-testid": "curve-legend" });
    const box = make("div", { class: "curve", "data-testid": "curve" });
    const { zone } = this.style;
    const say = (/** @type {Point | null} */ point) => {
      const [ms, equity, below] = point ?? this.points.at(-1) ?? [NaN, NaN, NaN];
      const first = this.points[0]?.[1] ?? NaN;
      legend.replaceChildren("Equity ", make("b", {}, price(equity, 2)), " ", coloured(equity - first, signed(equity - first, 2)), "   Drawdown ", make("b", { class: below > 0 ? "down" : "" }, price(below, 2)));
      if (point) legend.prepend(`${when(this.style, ms)}   `);
    };
    const load = this.loads;
    this.curve?.remove();
    this.curve = null;
    this.sayPoint = () => say(null);
    EquityCurve.make(box, zone, say).then((curve) => {
      if (load !== this.loads) return curve.remove();
      this.curve = curve;
      curve.set(this.points);
    });
    return make("section", { class: "panel equity" }, legend, box);
  }

  later() {
    this.timer ??= setTimeout(() => this.paint(), PAINT_MS);
  }

  paint() {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (!this.parts || !this.whole) return;
    const { state, reason, account } = this.whole;
    this.parts.state.replaceWith((this.parts.state = make("span", { class: "badge", "data-state": state, title: reason }, make("i", { class: "dot" }), state)));
    this.parts.note.replaceChildren(...note(this.whole));
    this.parts.tiles.replaceChildren(...tiles(account, this.whole.statistics, this.trades[0]?.number ?? 0, this.whole.instrument?.currency ?? ""));
    this.parts.book.replaceChildren(...this.book(account));
    this.paintTabs();
    this.sayPoint?.();
  }

  /** @param {Account | null} account */
  book(account) {
    const title = make("h2", {}, "Open position");
    if (!account || (account.position === 0 && account.orders.length === 0)) return [title, make("p", { class: "none" }, account ? "Flat; no orders wait." : "No position yet.")];
    const held = make("p", { class: "held" }, account.position === 0 ? "Flat" : sideOf(account.position), ` ${account.position === 0 ? "" : size(Math.abs(account.position), this.style.mincontract)}`);
    if (account.average_price !== null) held.append(make("span", { class: "muted" }, ` @ ${price(account.average_price, this.style.digits)}`));
    held.append(make("b", {}, coloured(account.open_profit, signed(account.open_profit, 2))));
    const parts = [title, held];
    if (account.open_trades.length) parts.push(table("open-trades", holdingColumns(this.style), account.open_trades, (each) => this.chartAt(each.entry_ms)));
    if (account.orders.length) parts.push(make("h2", {}, "Orders that wait"), table("orders", orderColumns(this.style, account.orders), account.orders));
    return parts;
  }

  // ---- tabs ----

  tabs() {
    return [...(this.strategy ? ["Trades", "Statistics", "Signals"] : []), "Alerts", "Log", "Properties"];
  }

  paintTabs() {
    const counts = { Trades: this.trades[0]?.number, Signals: this.signals.length, Log: this.whole.logs.length };
    const known = [.../** @type {HTMLElement} */ (this.parts?.tabs).children];
    this.tabs().forEach((name, i) => {
      const count = Reflect.get(counts, name);
      const button = known[i] ?? make("button", { type: "button", role: "tab", "data-testid": `tab-${name}` });
      button.textContent = count ? `${name} ${count}` : name;
      button.setAttribute("aria-selected", String(name === this.tab));
      if (known[i]) return;
      button.addEventListener("click", () => {
        remember("strategy-tab", name);
        this.show(name);
        this.paintTabs();
      });
      this.parts?.tabs.append(button);
    });
    if (this.tab === "Statistics") this.show("Statistics");
  }

  /** @param {string} name */
  show(name) {
    this.tab = name;
    this.endAlerts();
    this.endAlerts = () => {};
    const shown = /** @type {HTMLElement} */ (this.parts?.shown);
    const { style } = this;
    if (name === "Alerts") {
      this.endAlerts = mountAlerts(shown, this.live, { run: this.run, zone: () => style.zone, go: ({ time_ms }) => location.assign(this.chartAt(time_ms)) });
    } else if (name === "Trades") {
      shown.replaceChildren(this.trades.length ? table("trades", tradeColumns(style), this.trades, (trade) => this.chartAt(trade.entry_ms)) : none("No trade was closed yet."), ...this.olderButton());
    } else if (name === "Signals") {
      shown.replaceChildren(this.signals.length ? table("signals", signalColumns(style), this.signals, (signal) => this.chartAt(signal.time_ms)) : none("No signal yet: nothing was bought, sold or closed."));
    } else if (name === "Log") {
      shown.replaceChildren(this.whole.logs.length ? table("logs", logColumns(style), this.whole.logs) : none("The script has logged nothing."));
    } else if (name === "Statistics") {
      const tables = statisticsTables(this.whole.statistics, this.style.mincontract);
      shown.replaceChildren(tables.length ? make("div", { class: "statistics", "data-testid": "statistics" }, ...tables) : none("There are figures when a trade is closed."));
    } else {
      shown.replaceChildren(properties(this.whole, this.run));
    }
  }

  olderButton() {
    const last = this.trades.at(-1);
    if (!last || last.number <= 1) return [];
    const button = make("button", { type: "button", class: "button outlined older" }, "Older trades");
    button.addEventListener("click", async () => {
      const { trades } = await getJson("/api/trades", { run: this.run, limit: MOST_ROWS, before_ms: Reflect.get(last, "time_ms") });
      this.trades.push(...numbered(trades, last.number - 1));
      this.show("Trades");
    });
    return [button];
  }
}

/**
 * The newest first, with the number of each in its run.
 * @param {any[]} trades
 * @param {number} count the number of the last one
 * @returns {Trade[]}
 */
function numbered(trades, count) {
  return trades.reverse().map((trade, i) => ({ ...trade, number: count - i }));
}
