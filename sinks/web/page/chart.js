// The chart page: what is shown, chosen, pressed and linked to. Bars come from feed.js, are drawn by engine/chart.js.

import { mountAlerts } from "./alerts.js";
import { ChartEngine, loadLibrary } from "./engine/chart.js";
import { Feed } from "./feed.js";
import { price, timeText, timeframeText, zoneOf } from "./format.js";
import { make, mountHeader } from "./header.js";
import { bindKeys } from "./keys.js";
import { Legend } from "./legend.js";
import { bindTabs, menuOf } from "./menus.js";
import { Scripts } from "./scripts.js";
import { recall, remember } from "./settings.js";
import { Streams, digits, partsOf } from "./streams.js";
import { Search, WatchList } from "./watch.js";
import { Live } from "./wire.js";
import { emptinessOf, troubleOf } from "./words.js";

/** @typedef {"linear" | "log" | "percent"} Scale */

const DAY_MS = 86_400_000;
const AHEAD = 100;
const ZONES = { exchange: "Exchange", local: "This computer", UTC: "UTC" };

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

class ChartPage {
  /** @param {typeof import("lightweight-charts")} library */
  constructor(library) {
    const asked = new URLSearchParams(location.search);
    this.live = new Live();
    mountHeader("chart", this.live);
    /** what is shown; empty while nothing was chosen and there is nothing to choose */
    this.stream = asked.get("stream") ?? "";
    /** @type {number | null} the time that a link points at */
    this.at = asked.has("at") ? Number(asked.get("at")) : null;
    /** the script that a link asks for: others are hidden then */
    this.run = (asked.get("run") ?? "").replace(/^(?!run:)(?=.)/, "run:");
    this.zoneChoice = asked.get("tz") ?? recall("zone", "exchange");
    this.scale = /** @type {Scale} */ (asked.get("scale") ?? recall("scale", "linear"));
    this.failure = "";
    /** the runs that are followed */
    this.followed = "";
    /** @type {number | null} the bar under the crosshair */
    this.pointed = null;

    this.feed = new Feed(this.live, (what, look) => this.engine.draw(what, look), (sentence) => this.fail(sentence));
    this.engine = new ChartEngine(library, byId("chart"), this.feed.window, zoneOf("UTC"));
    this.scripts = new Scripts(this.engine, this.feed, this.live, () => this.showScripts());
    this.streams = new Streams(this.live, () => this.refresh());
    this.legend = new Legend(byId("legends"));
    this.watch = new WatchList(byId("watch"), this.streams, (stream) => this.choose(stream));
    this.search = new Search(/** @type {HTMLDialogElement} */ (byId("search")), this.streams, (stream) => this.choose(stream));
    mountAlerts(byId("alerts"), this.live, { go: ({ run, time_ms }) => this.goTo(time_ms, run), zone: () => this.engine.zone });
    this.listen();
    this.bindTools();
    bindTabs();
    this.setScale(this.scale);
    this.pointAt(this.at);
  }

  listen() {
    this.live.on("state", () => this.refresh());
    this.engine.on("frame", () => this.showValues());
    this.engine.on("range", () => this.moved());
    this.engine.onPointer(({ time }) => {
      this.pointed = time;
      this.showValues();
    });
    addEventListener("theme", () => this.engine.setTheme());
    addEventListener("popstate", () => location.reload());
    setInterval(() => this.tick(), 1000);
  }

  // ---- what is shown ----

  get row() {
    return this.streams.get(this.stream);
  }

  /** All that follows from the streams there are and how they are. */
  refresh() {
    this.stream ||= this.streams.get(this.run)?.run?.stream ?? "";
    if (!this.run) this.stream ||= this.streams.first(recall("stream", ""));
    if (this.row && this.feed.stream !== this.stream) this.open();
    this.watch.show(this.stream);
    this.showTimeframes();
    this.legend.showStream(this.row, this.stream);
    this.showBanner();
    this.showEmpty();
    this.engine.setMuted(this.live.state === "lost" || (this.row !== undefined && this.row.state !== "live"));
  }

  open() {
    const row = /** @type {import("./streams.js").Stream} */ (this.row);
    const { mintick, mincontract } = row.instrument ?? { mintick: 0.01, mincontract: 1e-5 };
    this.engine.setGrid({ mintick, mincontract, digits: digits(row), timeframeMs: row.timeframe_ms });
    this.setZone(this.zoneChoice);
    this.follow();
    this.feed.open(this.stream, row.timeframe_ms, this.at);
    this.scripts.show(this.stream, this.run);
    byId("symbol").replaceChildren(byId("symbol").children[0], make("span", {}, partsOf(this.stream).symbol));
    remember("stream", this.stream);
  }

  follow() {
    const runs = this.scripts.runs.map(({ run }) => run);
    this.live.follow({ streams: [this.stream, ...runs], quotes: true, alerts: true });
  }

  /**
   * Another stream, by a person.
   * @param {string} stream
   * @param {number | null} [at]
   */
  choose(stream, at = null) {
    if (stream === this.stream) return;
    this.stream = stream;
    this.run = "";
    this.pointAt(at);
    history.pushState(null, "", this.link());
    this.refresh();
    byId("chart").focus({ preventScroll: true });
  }

  /** The address of what is shown. */
  link() {
    const query = new URLSearchParams({ stream: this.stream });
    if (this.run) query.set("run", this.run);
    if (this.at !== null) query.set("at", String(this.at));
    if (this.scale !== "linear") query.set("scale", this.scale);
    if (this.zoneChoice !== "exchange") query.set("tz", this.zoneChoice);
    return `/?${query.toString().replaceAll("%3A", ":").replaceAll("%2F", "/").replaceAll("%40", "@")}`;
  }

  showTimeframes() {
    const buttons = this.streams.siblings(this.stream).map((row) => {
      const on = row.stream === this.stream;
      const button = make(
        "button",
        { class: "button", type: "button", "aria-pressed": String(on), "data-testid": "timeframe" },
        timeframeText(row.timeframe),
      );
      button.addEventListener("click", () => this.choose(row.stream));
      return button;
    });
    const box = byId("timeframes");
    const same = buttons.length === box.children.length && buttons.every((button, i) => button.isEqualNode(box.children[i]));
    if (!same) box.replaceChildren(...buttons);
  }

  /** The values of the bar under the crosshair, else of the newest. */
  showValues() {
    const { window } = this.feed;
    const i = this.pointed === null ? window.length - 1 : window.indexOf(this.pointed);
    const bar = window.at(i);
    this.legend.showBar(bar, window.at(i - 1), digits(this.row));
    this.legend.showScripts(this.scripts.studies.legend(this.pointed));
    byId("go-live").hidden = !bar || (window.live && this.engine.following());
    byId("fit").setAttribute("aria-pressed", String(this.engine.fitted()));
    const last = window.last;
    if (last) document.title = `${price(last.close, digits(this.row))} ${partsOf(this.stream).symbol} · pynelive`;
    if (bar && !byId("empty").hidden) this.showEmpty();
  }

  /** There are other runs, or they are shown otherwise. */
  showScripts() {
    const { runs } = this.scripts;
    const names = runs.map(({ run }) => run).join(" ");
    if (this.followed !== names) {
      this.followed = names;
      this.follow();
    }
    /** @type {HTMLElement} */ (byId("scripts").lastElementChild).textContent = runs.length ? `Scripts ${runs.length}` : "Scripts";
    this.engine.nextFrame(() => undefined);
  }

  // ---- what is wrong ----

  /** @param {string} sentence */
  fail(sentence) {
    if (sentence === this.failure) return;
    this.failure = sentence;
    this.refresh();
  }

  showBanner() {
    const [state, sentence] = troubleOf(this.situation) ?? ["", ""];
    const banner = byId("banner");
    banner.hidden = sentence === "";
    if (banner.textContent === sentence) return;
    banner.dataset.state = state;
    banner.replaceChildren(make("i", { class: "dot", "data-state": state }), sentence);
  }

  /** In words, why there is no chart. */
  showEmpty() {
    const [title, text] = emptinessOf(this.situation) ?? ["", ""];
    const empty = byId("empty");
    empty.hidden = title === "";
    if (empty.dataset.title === title + text) return;
    empty.dataset.title = title + text;
    empty.replaceChildren(make("strong", {}, title), make("p", {}, text));
  }

  /** What words.js says of. */
  get situation() {
    const { stream, run, row, failure, feed, streams, live } = this;
    return { stream, run, row, failure, bars: feed.window.length > 0, asked: streams.loaded, lost: live.state === "lost" };
  }

  tick() {
    const zone = this.engine.zone;
    const now = Date.now();
    byId("zone").textContent = `${timeText(zone.at(now), true)} (${zone.label(now)})`;
    if (this.row && this.row.state !== "live") this.legend.showStream(this.row, this.stream);
  }

  // ---- what is chosen ----

  bindTools() {
    const press = (/** @type {string} */ id, /** @type {() => void} */ act) => byId(id).addEventListener("click", act);
    press("symbol", () => this.search.open());
    press("log", () => this.toggleScale("log"));
    press("percent", () => this.toggleScale("percent"));
    press("fit", () => this.engine.fit());
    press("go-live", () => this.goLive());
    press("panel", () => this.showPanel(!this.panelOpen));
    press("help-button", () => this.help());
    menuOf(byId("scripts"), "Scripts", true, () => this.scripts.choices());
    menuOf(byId("zone"), "Time zone", false, () =>
      Object.entries(ZONES).map(([name, text]) => ({
        text: name === "exchange" ? `${text} (${this.row?.instrument?.timezone ?? "UTC"})` : text,
        id: `zone-${name}`,
        on: name === this.zoneChoice,
        pick: () => this.setZone(name, true),
      })),
    );
    this.showPanel(recall("panel", innerWidth > 900 ? "open" : "") === "open" && innerWidth > 720);
    bindKeys(
      [
        [["ArrowLeft", "ArrowRight"], "Move by a bar, with Shift by twenty", (event) => this.pan(event)],
        [["+", "ArrowUp"], "Show fewer bars", () => this.engine.zoom(0.8)],
        [["-", "ArrowDown"], "Show more bars", () => this.engine.zoom(1.25)],
        [["="], "", () => this.engine.zoom(0.8)],
        [["l", "End"], "Go to the newest bar", () => this.goLive()],
        [["Home"], "Go to the oldest bar that is loaded, older ones follow", () => this.engine.oldest()],
        [["/"], "Find a symbol", () => this.search.open()],
        [["[", "]"], "The symbol before and after in the watch list", (event) => this.step(event.key === "[" ? -1 : 1)],
        [["g"], "Logarithmic scale", () => this.toggleScale("log")],
        [["p"], "Percent scale", () => this.toggleScale("percent")],
        [["a"], "Fit the prices to what is seen", () => this.engine.fit()],
        [["w"], "Watch list and alerts", () => this.showPanel(!this.panelOpen)],
        [["?"], "These keys", () => this.help()],
      ],
      byId("keys"),
    );
  }

  /** @param {KeyboardEvent} event */
  pan(event) {
    this.engine.pan((event.key === "ArrowLeft" ? -1 : 1) * (event.shiftKey ? 20 : 1));
  }

  /** @param {number} by */
  step(by) {
    this.choose(this.watch.next(this.stream, by));
  }

  help() {
    /** @type {HTMLDialogElement} */ (byId("help")).showModal();
  }

  goLive() {
    this.pointAt(null);
    history.replaceState(null, "", this.link());
    if (this.feed.window.live) this.engine.latest();
    else this.feed.toLive();
  }

  /** @param {number | null} time */
  pointAt(time) {
    this.at = time;
    this.engine.spot.set(time);
    this.scripts.pointAt(time);
  }

  /** Show where a script has said something. @param {number} time @param {string} run */
  goTo(time, run) {
    const stream = this.streams.get(run)?.run?.stream ?? this.stream;
    if (stream !== this.stream) return this.choose(stream, time);
    this.pointAt(time);
    history.replaceState(null, "", this.link());
    this.feed.toTime(time);
  }

  /** Older or newer bars are fetched before the end of those that are there comes into sight. */
  moved() {
    const { from, to } = this.engine.range();
    const ahead = Math.max(AHEAD, to - from);
    if (from < ahead) this.feed.older();
    if (to > this.feed.window.length - ahead) this.feed.newer();
    byId("go-live").hidden = this.feed.window.length === 0 || (this.feed.window.live && this.engine.following());
  }

  /** @param {Scale} scale */
  toggleScale(scale) {
    this.setScale(this.scale === scale ? "linear" : scale);
    remember("scale", this.scale);
    history.replaceState(null, "", this.link());
  }

  /** @param {Scale} scale */
  setScale(scale) {
    this.scale = scale;
    this.engine.setScale(scale);
    byId("log").setAttribute("aria-pressed", String(scale === "log"));
    byId("percent").setAttribute("aria-pressed", String(scale === "percent"));
  }

  /**
   * Bars of a day or more are dated as their exchange does, wherever one looks from.
   * @param {string} choice
   * @param {boolean} [keep]
   */
  setZone(choice, keep = false) {
    this.zoneChoice = choice;
    const exchange = this.row?.instrument?.timezone ?? "UTC";
    const daily = (this.row?.timeframe_ms ?? 0) >= DAY_MS;
    this.engine.setZone(zoneOf(choice === "exchange" || daily ? exchange : choice));
    dispatchEvent(new Event("zone"));
    this.tick();
    if (!keep) return;
    remember("zone", choice);
    history.replaceState(null, "", this.link());
  }

  get panelOpen() {
    return byId("side").hidden === false;
  }

  /** @param {boolean} open */
  showPanel(open) {
    byId("side").hidden = !open;
    byId("panel").setAttribute("aria-pressed", String(open));
    if (innerWidth > 720) remember("panel", open ? "open" : "closed");
  }
}

loadLibrary().then(
  (library) => Object.assign(window, { dashboard: new ChartPage(library) }),
  () => {
    const text = "The page's chart library is missing here: install pynelive again, where it can be fetched once.";
    byId("empty").replaceChildren(make("strong", {}, "No chart in this installation"), make("p", {}, text));
    byId("empty").hidden = false;
  },
);
