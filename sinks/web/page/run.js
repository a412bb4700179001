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
    this.span = null;
    /** answers to what was asked before the last turn are no longer wanted */
    this.turn = 0;
    this.asking = false;
    /** @type {any[][]} what was said while something is asked for */
    this.waiting = [];
    this.removed = false;
  }

  // --- what is asked for -----------------------------------------------------------------------------------------------

  /**
   * The whole run for these bars, in place of all that is here.
   * @param {Span} span
   */
  load(span) {
    this.span = span;
    return this.ask(async () => {
      const said = await getJson("/api/run", { run: this.run });
      const page = await this.page(span.from, span.live ? null : span.to + 1);
      return () => {
        this.begin(said);
        this.take(page);
      };
    });
  }

  /**
   * The chart has other bars: fetch the plots that are missing.
   * @param {Span} span
   */
  move(span) {
    const { rows } = this.study ?? {};
    const known = this.span;
    if (!rows || !known || this.asking) return this.load(span);
    const last = rows.times[rows.times.length - 1] ?? 0;
    if (span.to < known.from || (!known.live && span.from > known.to)) return this.load(span);
    if (rows.length > KEPT_ROWS) rows.trim(span.from, span.to);
    const [from, to] = [Math.min(known.from, span.from), known.live ? Infinity : known.to];
    const before = span.from < known.from ? this.page(span.from, known.from) : null;
    const after = !known.live && (span.live || span.to > to) ? this.page(last + 1, span.live ? null : span.to + 1) : null;
    const trimmed = rows.length && rows.time(rows.length - 1) < last;
    this.span = { from, to: Math.max(span.to, known.to), live: !trimmed && (known.live || span.live) };
    if (!before && !after) return Promise.resolve();
    return this.ask(async () => {
      const pages = [await before, await after];
      return () => {
        for (const page of pages) if (page) this.take(page);
      };
    }, false);
  }

  /** What has changed since the last number; all of it where the server is another one. */
  refill() {
    return this.ask(async () => {
      const [said, page] = await Promise.all([
        getJson("/api/run", { run: this.run }),
        getColumns("/api/plots", { run: this.run, since_n: this.n, limit: MOST_ROWS }),
      ]);
      return () => {
        if (!this.study || said.boot !== this.boot || page.head.older) return void (this.span && this.load(this.span));
        this.describe(said);
        if (this.span?.live) this.take(page);
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
   * @param {boolean} [fresh] whether what was asked before is wanted no more
   */
  async ask(question, fresh = true) {
    const turn = fresh ? ++this.turn : this.turn;
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
    if (turn === this.turn && !this.asking) for (const said of this.waiting.splice(0)) this.hear(said);
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
    if (forming && this.span?.live) {
      study.form({ time: forming.time_ms, values: forming.values, styles: forming.styles }, forming.drawings);
    }
  }

  // --- what is said ----------------------------------------------------------------------------------------------------

  /** @param {any[]} said a live message of this run, with its kind first */
  hear(said) {
    if (this.asking || !this.study) {
      this.waiting.push(said);
      return;
    }
    const [kind, , n, ...rest] = said;
    if (n > this.n + 1 || ((kind === "n" || (kind === "p" && !rest[1])) && n > this.n)) {
      this.refill();
      return;
    }
    if (n <= this.n && kind !== "p") return;
    this.n = Math.max(this.n, n);
    if (kind === "r") this.span && this.load(this.span);
    else if (kind === "m") this.study.describe(rest[0]);
    else if (kind === "d") this.study.draw([rest[1], rest[2], rest[3], rest[4]]);
    else if (kind === "p" && this.span?.live) this.hearPlot(this.study, rest);
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
