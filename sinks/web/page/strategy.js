// The strategy page: a card a run, and what is told of the one that was chosen.

import { digitsOf, price, signed, size } from "./format.js";
import { make, mountHeader } from "./header.js";
import { warmUp } from "./overview.js";
import { Report } from "./report.js";
import { drawSpark } from "./spark.js";
import { getJson, Live } from "./wire.js";

/**
 * @typedef {{run: string, title: string, kind: "indicator" | "strategy", stream: string, state: string, since_ms: number, reason: string,
 *   position: number | null, average_price: number | null, open_profit: number | null, net_profit: number | null,
 *   equity: number | null, currency: string | null, mintick: number, mincontract: number, last_ms: number | null, bars: number, warmup: number,
 *   last_signal: {action: string, time_ms: number} | null, last_alert: {message: string, time_ms: number} | null,
 *   counts: {fills: number, signals: number, alerts: number}, n: number}} Card
 */

const LOOK_MS = 10_000;
const PAINT_MS = 200;
const SPARK_POINTS = 80;

class StrategyPage {
  constructor() {
    this.live = new Live();
    this.cards = /** @type {HTMLElement} */ (document.getElementById("cards"));
    this.place = /** @type {HTMLElement} */ (document.getElementById("report"));
    /** @type {Map<string, HTMLElement>} */
    this.shown = new Map();
    /** @type {Map<string, Card>} */
    this.known = new Map();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {Map<string, number[]>} the equity of late, by run */
    this.sparks = new Map();
    /** @type {Report | null} */
    this.report = null;
    this.chosen = "";
    mountHeader("strategy", this.live);
    addEventListener("popstate", () => this.choose());
    this.listen();
    this.choose();
    this.look();
    setInterval(() => document.hidden || this.look(), LOOK_MS);
  }

  /** Show the run that the address names, all of them if it names none. */
  choose() {
    const run = new URLSearchParams(location.search).get("run") ?? "";
    this.chosen = run && !run.startsWith("run:") ? `run:${run}` : run;
    this.report?.close();
    this.live.follow({ streams: this.chosen ? [this.chosen] : [], runs: true });
    this.report = this.chosen ? new Report(this.place, this.live, this.chosen) : null;
    this.place.hidden = !this.chosen;
    document.body.classList.toggle("one", Boolean(this.chosen));
    for (const [name, card] of this.shown) this.mark(name, card);
  }

  listen() {
    /** @param {string} kind @param {(card: Card, what: any) => void} change */
    const on = (kind, change) =>
      this.live.on(kind, (run, n, ...what) => {
        const card = this.known.get(run);
        if (!card || n <= card.n) return;
        card.n = n;
        change(card, what[0]);
        this.later();
      });
    on("o", (card, { position, average_price, open_profit, net_profit, equity }) => Object.assign(card, { position, average_price, open_profit, net_profit, equity }));
    on("f", (card) => card.counts.fills++);
    on("g", (card, signal) => (card.last_signal = signal));
    on("a", (card, alert) => (card.counts.alerts++, (card.last_alert = alert)));
    on("s", (card, state) => (card.state = state) === "ended" && void this.look());
    for (const kind of ["new", "r", "reset"]) this.live.on(kind, () => this.look());
    this.live.on("hello", (_, same) => {
      if (!same) this.known.clear();
      this.look();
    });
  }

  /** Ask how all of them stand; what is told meanwhile is newer than the answer, or in it. */
  async look() {
    try {
      const { runs } = await getJson("/api/runs");
      this.known = new Map(runs.map((/** @type {Card} */ card) => [card.run, newer(card, this.known.get(card.run))]));
      this.paint();
    } catch {
      // the header says that the connection is lost; it is tried again
    }
  }

  later() {
    this.timer ??= setTimeout(() => this.paint(), PAINT_MS);
  }

  paint() {
    clearTimeout(this.timer);
    this.timer = undefined;
    for (const [name, card] of this.shown) {
      if (!this.known.has(name)) card.remove(), this.shown.delete(name);
    }
    const cards = [...this.known.values()].sort((one, other) => one.run.localeCompare(other.run));
    cards.forEach((card, place) => {
      const now = this.card(card);
      const before = this.shown.get(card.run);
      if (before) before.replaceChildren(...now.childNodes);
      else this.shown.set(card.run, now), this.cards.insertBefore(now, this.cards.children[place] ?? null);
      if (card.equity !== null) this.spark(card);
    });
    this.cards.querySelector(".empty")?.remove();
    if (cards.length === 0) this.cards.append(nothing());
  }

  /** @param {Card} card */
  card(card) {
    const link = make("a", { class: "card run", href: `/strategy?run=${encodeURIComponent(card.run)}`, "data-testid": `run-${card.run}` });
    link.append(...headOf(card), ...(card.kind === "strategy" ? bookOf(card) : []), lastOf(card));
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      history.pushState(null, "", link.getAttribute("href"));
      this.choose();
    });
    this.mark(card.run, link);
    return link;
  }

  /** @param {string} name @param {HTMLElement} card */
  mark(name, card) {
    if (name === this.chosen) card.setAttribute("aria-current", "true");
    else card.removeAttribute("aria-current");
  }

  /** The line of the equity: asked for once, and gone on with. @param {Card} card */
  async spark(card) {
    const known = this.sparks.get(card.run);
    if (known === undefined) {
      this.sparks.set(card.run, []);
      const { points } = await getJson("/api/pnl", { run: card.run, points: SPARK_POINTS });
      this.sparks.set(card.run, points.map((/** @type {number[]} */ point) => point[1]));
    } else if (card.equity !== known.at(-1) && card.equity !== null) {
      known.push(card.equity);
      if (known.length > 2 * SPARK_POINTS) this.sparks.set(card.run, known.filter((_, i) => i % 2 === 1));
    }
    const canvas = this.shown.get(card.run)?.querySelector("canvas");
    if (canvas) drawSpark(canvas, this.sparks.get(card.run) ?? []);
  }
}

/** Two answers may overtake each other. @param {Card} card @param {Card | undefined} known */
function newer(card, known) {
  return known && known.n > card.n ? known : card;
}

/** @param {Card} card */
function headOf({ run, title, kind, stream, state, reason }) {
  const badge = make("span", { class: "badge", "data-state": state, title: reason }, make("i", { class: "dot" }), state);
  return [
    make("div", { class: "line" }, make("h2", {}, title || run.replace(/^run:/, "")), badge),
    make("div", { class: "line muted small" }, make("span", {}, run.replace(/^run:/, "")), make("span", {}, `${kind} · ${stream}`)),
  ];
}

/** @param {Card} card */
function bookOf({ position, average_price, open_profit, net_profit, equity, currency, mintick, mincontract }) {
  if (position === null || net_profit === null || equity === null) return [make("div", { class: "line muted" }, "No position yet")];
  const held = position === 0 ? "Flat" : `${position > 0 ? "Long" : "Short"} ${size(Math.abs(position), mincontract)}`;
  const at = average_price === null ? "" : ` @ ${price(average_price, digitsOf(mintick))}`;
  const capital = equity - net_profit - (open_profit ?? 0);
  const figures = make(
    "dl",
    {},
    ...figure("Open P&L", position === 0 ? "—" : signed(open_profit ?? 0, 2), position === 0 ? 0 : (open_profit ?? 0)),
    ...figure("Net profit", `${signed(net_profit, 2)} ${currency ?? ""} (${signed((100 * net_profit) / capital, 2)}%)`, net_profit),
  );
  return [make("div", { class: "line" }, make("span", {}, held, make("span", { class: "muted" }, at))), figures, make("canvas", { class: "spark" })];
}

/** @param {string} name @param {string} value @param {number} sign */
function figure(name, value, sign) {
  return [make("dt", {}, name), make("dd", { class: sign > 0 ? "up" : sign < 0 ? "down" : "" }, value)];
}

/** @param {Card} card */
function lastOf({ last_signal, last_alert, counts, bars, warmup, ...condition }) {
  const said = [
    last_signal && { ms: last_signal.time_ms, text: last_signal.action },
    last_alert && { ms: last_alert.time_ms, text: last_alert.message },
  ].filter((one) => one !== null);
  const [last] = said.sort((one, other) => other.ms - one.ms);
  const count = [[counts.fills, "trades"], [counts.alerts, "alerts"]].filter(([n]) => n).map((each) => each.join(" "));
  return make("div", { class: "line muted small" }, make("span", { class: "words" }, last?.text ?? (warmUp(condition, bars, warmup) || "Nothing said yet")), make("span", {}, count.join(" · ")));
}

function nothing() {
  return make(
    "div",
    { class: "empty" },
    make("strong", {}, "No scripts are running"),
    "Put a [[runner]] with a script and a stream into the topology, or attach one with pynelive exec.",
  );
}

Object.assign(window, { dashboard: new StrategyPage() });
