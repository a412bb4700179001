// The scripts on the chart: which of the stream's runs are shown, their plots and drawings (studies.js), their trades.

import { recall, remember } from "./settings.js";
import { Studies } from "./studies.js";

/**
 * @typedef {import("./engine/chart.js").ChartEngine} ChartEngine
 * @typedef {import("./feed.js").Feed} Feed
 * @typedef {import("./menus.js").Choice} Choice
 */

export class Scripts {
  /**
   * @param {ChartEngine} engine
   * @param {Feed} feed
   * @param {import("./wire.js").Live} live
   * @param {() => void} changed there are other runs, or they say something else
   */
  constructor(engine, feed, live, changed) {
    this.feed = feed;
    this.stream = "";
    /** the run that a link asks for: the others are hidden then */
    this.only = "";
    /** @type {Set<string>} */
    this.known = new Set();
    this.studies = new Studies(engine.ground, live);
    this.studies.onChange(() => {
      this.hideUnwanted();
      changed();
    });
    engine.on("bars", () => this.move());
  }

  /**
   * @param {string} stream
   * @param {string} only
   */
  show(stream, only) {
    this.stream = stream;
    this.only = only;
    this.known.clear();
    return this.studies.show(stream);
  }

  /** The window has other bars. */
  move() {
    const { window, stream } = this.feed;
    const [first, last] = [window.closed[0], window.closed[window.closed.length - 1]];
    if (first && last && stream === this.stream) this.studies.window(first.time, last.time, window.live);
  }

  get runs() {
    return this.studies.runs();
  }

  /** @returns {Set<string>} */
  get hidden() {
    return new Set(JSON.parse(recall(`hidden.${this.stream}`, "[]")));
  }

  /** A run that is new here is shown unless it was hidden before, or another one is asked for. */
  hideUnwanted() {
    const { hidden } = this;
    for (const { run } of this.runs) {
      if (this.known.has(run)) continue;
      this.known.add(run);
      if (this.only ? this.only !== run : hidden.has(run)) this.studies.setVisible(run, false);
    }
  }

  /** @returns {Choice[]} */
  choices() {
    return this.runs.map(({ run, title, visible, failure }) => ({
      text: failure ? `${title}: ${failure}` : `${title}  ·  ${run.replace(/^run:/, "")}`,
      id: run,
      on: visible,
      pick: () => this.setVisible(run, !visible),
    }));
  }

  /**
   * @param {string} run
   * @param {boolean} yes
   */
  setVisible(run, yes) {
    const { hidden } = this;
    if (yes) hidden.delete(run);
    else hidden.add(run);
    remember(`hidden.${this.stream}`, JSON.stringify([...hidden]));
    this.studies.setVisible(run, yes);
  }
}
