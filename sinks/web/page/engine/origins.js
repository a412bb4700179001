// A strip along the bottom of the candles: the bars that are not the venue's own, and what stands in for it.

/**
 * @typedef {import("lightweight-charts").ISeriesPrimitive} Primitive
 * @typedef {import("./chart.js").ChartEngine} ChartEngine
 */

const HEIGHT = 3;

/** What stands in for the venue's own bars. A demo and a replay are what they are, from the first bar to the last. */
export const STAND_IN = new Set(["fallback", "sampled", "aggregated", "derived"]);

/** @implements {Primitive} */
export class OriginStrip {
  /** @param {ChartEngine} engine */
  constructor(engine) {
    this.engine = engine;
    const renderer = { draw: (/** @type {any} */ target) => target.useMediaCoordinateSpace(this.draw.bind(this)) };
    this.views = [{ zOrder: () => /** @type {const} */ ("top"), renderer: () => renderer }];
  }

  paneViews() {
    return this.views;
  }

  /** @param {{context: CanvasRenderingContext2D, mediaSize: {width: number, height: number}}} scope */
  draw({ context, mediaSize }) {
    const range = this.engine.api.timeScale().getVisibleLogicalRange();
    if (!range) return;
    const half = this.engine.api.timeScale().options().barSpacing / 2;
    for (const [from, to, origin] of this.spans(Math.max(0, Math.floor(range.from)), Math.ceil(range.to))) {
      const [left, right] = [this.engine.x(from), this.engine.x(to)];
      context.fillStyle = this.engine.colours[origin === "fallback" ? "bad" : "warn"];
      context.fillRect(left - half, mediaSize.height - HEIGHT, right - left + 2 * half, HEIGHT);
    }
  }

  /**
   * Neighbours of the same origin as one span.
   * @param {number} first
   * @param {number} last
   */
  spans(first, last) {
    /** @type {[number, number, string][]} */
    const spans = [];
    for (let i = first; i <= Math.min(last, this.engine.window.length - 1); i++) {
      const origin = this.engine.window.at(i)?.origin ?? "";
      const span = spans.at(-1);
      if (span && span[1] === i - 1 && span[2] === origin) span[1] = i;
      else if (STAND_IN.has(origin)) spans.push([i, i, origin]);
    }
    return spans;
  }
}
