// One run of a script kept true on the chart: loaded for the bars that the chart has, moved by what is said live, and
// after a gap or a lost connection filled with what has changed meanwhile.

import { Study } from "./engine/study.js";
import { getColumns, getJson } from "./wire.js";

/** @typedef {import("./engine/scene.js").Ground} Ground */
/** @typedef {{from: number, to: number, live: boolean}} Span the chart's bars; `live` is whether they reach the present */

const MOST_ROWS = 20_000;
const KEPT_ROWS = 30_000;

export class RunFeed {
  /**
   * @param {Ground} ground
   * @param {string} run its stream, `run:…`
   * @param {() => void} changed it is shown now, or looks or is named otherwise
   */
  constructor(ground, run, changed) {
    this.ground = ground;
    this.run = run;
    this.changed = changed;
    this.title = "";
    this.kind = "indicator";
    /** @type {Study | null} until it is known what runs */
    this.study = null;
    this.shown = true;
    this.failure = "";
    /** of the server's life that this is of */
    this.boot = "";
    /** the change number up to which this is complete */
    this.n = 0;
    /** @type {Span | null} what plots are here for */
    this.known = null;
    /** @type {Span | null} the chart's bars, and those that were looked at last */
    this.wanted = this.seen = null;
    /** answers to what was asked before the last turn are no longer wanted */
    this.turn = 0;
    this.asking = false;
    /** @type {any[][]} what was said while something is asked for */
    this.waiting = [];
    this.removed = false;
  }

  // --- what is asked for -----------------------------------------------------------------------------------------------

  /**
   * The chart has these bars: fetch the plots that are missing, now or when what is asked for is there.
   * @param {Span} span
   */
  move(span) {
    this.wanted = span;
    if (!this.asking) this.fetch();
  }

  fetch() {
    const { wanted, known, study } = this;
    this.seen = wanted;
    if (!wanted) return;
    const apart = !known || wanted.to < known.from || (!known.live && wanted.from > known.to);
    if (!study || apart) return void this.load(wanted);
    const { rows } = study;
    if (rows.length > KEPT_ROWS) this.trim(wanted);
    const last = rows.times[rows.times.length - 1] ?? known.from;
    const older = wanted.from < known.from ? this.page(wanted.from, known.from) : null;
    const newer = !known.live && (wanted.live || wanted.to > known.to)
      ? this.page(last + 1, wanted.live ? null : wanted.to + 1) : null;
    if (!older && !newer) return;
    this.ask(async () => {
      const pages = await Promise.all([older, newer]);
      return () => {
        this.known = {
          from: Math.min(known.from, wanted.from), to: Math.max(known.to, wanted.to), live: known.live || wanted.live,
        };
        for (const page of pages) if (page) this.take(page);
      };
    });
  }

  /**
   * Let go of the rows beyond what the chart has.
   * @param {Span} span
   */
  trim(span) {
    if (!this.study || !this.known) return;
    const { rows } = this.study;
    const last = rows.times[rows.times.length - 1];
    rows.trim(span.from, span.to);
    const cut = rows.times[rows.times.length - 1] !== last;
    this.known = { from: span.from, to: cut ? span.to : this.known.to, live: this.known.live && !cut };
  }

  /**
   * The whole run for these bars, in place of all that is here.
   * @param {Span} span
   */
  load(span) {
    return this.ask(async () => {
      const said = await getJson("/api/run", { run: this.run });
      const page = await this.page(span.from, span.live ? null : span.to + 1);
      return () => {
        this.known = span;
        this.begin(said);
        this.take(page);
      };
    });
  }

  /** All of it anew: another run has begun, or another server, or the last answer was none. */
  reload() {
    if (this.wanted) this.load(this.wanted);
  }

  /** What has changed since the last number; all of it where the server is another one. */
  refill() {
    return this.ask(async () => {
      const said = await getJson("/api/run", { run: this.run });
      const page = await getColumns("/api/plots", { run: this.run, since_n: this.n, limit: MOST_ROWS });
      return () => {
        if (said.boot !== this.boot || page.head.older) return this.reload();
        this.describe(said);
        if (this.known?.live) this.take(page);
      };
    });
  }

  /**
   * @param {number} from
   * @param {number | null} before
   */
  page(from, before) {
    return getColumns("/api/plots", { run: this.run, from_ms: from, before_ms: before, limit: MOST_ROWS });
  }

  /**
   * Ask; what is said until the answer is there is heard after it.
   * @param {() => Promise<() => void>} question its answer is taken by what it returns
   */
  async ask(question) {
    const turn = ++this.turn;
    this.asking = true;
    try {
      const taken = await question();
      if (turn !== this.turn || this.removed) return;
      this.asking = false;
      this.failure = "";
      taken();
    } catch (error) {
      if (turn !== this.turn) return;
      this.asking = false;
      if (!(error instanceof Error)) throw error;
      this.failure = error.message;
    }
    for (const said of this.waiting.splice(0)) this.hear(said);
    if (!this.asking && !this.failure && this.wanted !== this.seen) this.fetch();
    this.changed();
  }

  // --- what is answered ------------------------------------------------------------------------------------------------

  /** @param {any} said `/api/run` */
  begin(said) {
    this.study?.remove();
    this.boot = said.boot;
    this.title = said.run?.title ?? this.run;
    this.kind = said.run?.kind ?? "indicator";
    this.study = new Study(this.ground, Boolean(said.run?.overlay));
    this.study.shown = this.shown;
    this.describe(said);
  }

  /** @param {any} said `/api/run` */
  describe(said) {
    this.n = said.n;
    if (!this.study) return;
    this.study.anchor = said.anchor;
    this.study.describe(said.metas);
    this.study.redraw(said.drawings);
  }

  /** @param {import("./wire.js").Columns} page `/api/plots` */
  take({ head, columns }) {
    const study = this.study;
    if (!study) return;
    study.load(columns, head.styles, head.first_index);
    const { forming } = head;
    if (forming && this.known?.live) {
      study.form({ time: forming.time_ms, values: forming.values, styles: forming.styles }, forming.drawings);
    }
  }

  // --- what is said ----------------------------------------------------------------------------------------------------

  /** @param {any[]} said a live message of this run, with its kind first */
  hear(said) {
    if (this.asking) this.waiting.push(said);
    if (this.asking || !this.study) return;
    const [kind, , n, ...rest] = said;
    if (n > this.n + 1 || ((kind === "n" || (kind === "p" && !rest[1])) && n > this.n)) {
      this.refill();
      return;
    }
    if (n <= this.n && kind !== "p") return;
    this.n = Math.max(this.n, n);
    if (kind === "r") this.reload();
    else if (kind === "m") this.study.describe(rest[0]);
    else if (kind === "d") this.study.draw([rest[1], rest[2], rest[3], rest[4]]);
    else if (kind === "p" && this.known?.live) this.hearPlot(this.study, rest);
  }

  /**
   * @param {Study} study
   * @param {any[]} said
   */
  hearPlot(study, [time, closed, values, styles, changes]) {
    if (closed) study.close(time, values, styles ?? {});
    else study.form({ time, values, styles: styles ?? {} }, changes ?? []);
  }

  /** @param {boolean} yes */
  setVisible(yes) {
    this.shown = yes;
    this.study?.setVisible(yes);
  }

  remove() {
    this.removed = true;
    this.study?.remove();
  }
}
