// The runs of the stream that the chart shows: which there are, what they say, and what the legend says of them.

import { RunFeed } from "./run.js";
import { getJson } from "./wire.js";

/** @typedef {import("./engine/scene.js").Ground} Ground */
/** @typedef {{title: string, text: string, color: string}} Value */
/** @typedef {{run: string, title: string, pane: import("lightweight-charts").IPaneApi<any> | null, values: Value[]}} Entry */

/** What is numbered in a run's stream. */
const KINDS = ["p", "d", "m", "r", "f", "a", "g", "o", "l", "s", "n"];

export class Studies {
  /**
   * @param {Ground} ground
   * @param {import("./wire.js").Live} live the page follows the streams that `runs()` names
   */
  constructor(ground, live) {
    this.ground = ground;
    this.stream = "";
    /** @type {Map<string, RunFeed>} */
    this.feeds = new Map();
    /** @type {import("./run.js").Span | null} */
    this.span = null;
    /** @type {Set<() => void>} */
    this.hearers = new Set();
    const ends = KINDS.map((kind) => live.on(kind, (run, ...said) => this.feeds.get(run)?.hear([kind, run, ...said])));
    ends.push(live.on("reset", (run) => void this.feeds.get(run)?.refill()));
    ends.push(live.on("new", (run) => void (run.startsWith("run:") && this.look())));
    ends.push(live.on("hello", (_, same) => void this.reconnected(same)));
    const tip = (/** @type {any} */ event) => this.showTip(event.hoveredObjectId);
    ground.api.subscribeCrosshairMove(tip);
    /** What is to be undone at the end. */
    this.ends = [...ends, () => ground.api.unsubscribeCrosshairMove(tip)];
  }

  /**
   * Show the runs of another stream.
   * @param {string} stream
   */
  async show(stream) {
    if (stream === this.stream) return;
    for (const feed of this.feeds.values()) feed.remove();
    this.feeds.clear();
    this.span = null;
    this.stream = stream;
    this.tell();
    await this.look();
  }

  /** Find the runs of the stream that are not shown yet. */
  async look() {
    const { stream } = this;
    /** @type {{runs: {run: string, stream: string}[]}} */
    const { runs } = await getJson("/api/runs").catch(() => ({ runs: [] }));
    if (stream !== this.stream) return;
    for (const { run } of runs.filter((each) => each.stream === stream && !this.feeds.has(each.run))) {
      const feed = new RunFeed(this.ground, run, () => this.tell());
      this.feeds.set(run, feed);
      if (this.span) feed.move(this.span);
    }
    this.tell();
  }

  /**
   * The chart has bars of another span of time.
   * @param {number} from its first bar
   * @param {number} to its last one
   * @param {boolean} live whether that is the stream's last one
   */
  window(from, to, live) {
    this.span = { from, to, live };
    for (const feed of this.feeds.values()) feed.move(this.span);
  }

  /** @param {boolean} same whether it is the server of before */
  async reconnected(same) {
    await this.look();
    for (const feed of this.feeds.values()) if (!same || feed.failure) feed.reload();
  }

  // --- for the page ----------------------------------------------------------------------------------------------------

  runs() {
    return [...this.feeds.values()].map(({ run, title, kind, shown, failure }) =>
      ({ run, title: title || run, kind, visible: shown, failure }));
  }

  /**
   * @param {string} run
   * @param {boolean} yes
   */
  setVisible(run, yes) {
    this.feeds.get(run)?.setVisible(yes);
    this.tell();
  }

  /**
   * The values at a bar, or the latest; null is the price's pane.
   * @param {number | null} time
   * @returns {Entry[]}
   */
  legend(time) {
    return [...this.feeds.values()].flatMap(({ run, title, study }) => {
      if (!study?.shown) return [];
      return [study.above, study.own].flatMap((layer) => layer
        ? [{ run, title, pane: layer.pane, values: study.values(layer.isAbove, time) }] : []);
    });
  }

  /**
   * Hear when there are other runs, or one of them is shown otherwise.
   * @param {() => void} heard
   */
  onChange(heard) {
    this.hearers.add(heard);
    return () => void this.hearers.delete(heard);
  }

  tell() {
    for (const heard of this.hearers) heard();
  }

  /** @param {unknown} id what is under the pointer */
  showTip(id) {
    const tip = typeof id === "string" && id.startsWith("tip ") ? id.slice(4) : "";
    const element = this.ground.api.chartElement();
    if (element.title !== tip) element.title = tip;
  }

  remove() {
    for (const end of this.ends) end();
    for (const feed of this.feeds.values()) feed.remove();
    this.feeds.clear();
  }
}
