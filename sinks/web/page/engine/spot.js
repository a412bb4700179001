// The bar that a link or a trade points at: a soft band over it, down through the candles.

/**
 * @typedef {import("lightweight-charts").ISeriesPrimitive} Primitive
 * @typedef {import("./chart.js").ChartEngine} ChartEngine
 */

/** @implements {Primitive} */
export class Spot {
  /** @param {ChartEngine} engine */
  constructor(engine) {
    this.engine = engine;
    /** @type {number | null} */
    this.time = null;
    const renderer = { draw: (/** @type {any} */ target) => target.useMediaCoordinateSpace(this.draw.bind(this)) };
    this.views = [{ zOrder: () => /** @type {const} */ ("bottom"), renderer: () => renderer }];
    this.redraw = () => {};
  }

  /** @param {{requestUpdate: () => void}} attached */
  attached({ requestUpdate }) {
    this.redraw = requestUpdate;
  }

  paneViews() {
    return this.views;
  }

  /** @param {number | null} time */
  set(time) {
    this.time = time;
    this.redraw();
  }

  /** @param {{context: CanvasRenderingContext2D, mediaSize: {width: number, height: number}}} scope */
  draw({ context, mediaSize }) {
    if (this.time === null) return;
    const i = this.engine.window.indexOf(this.time);
    if (i < 0) return;
    const width = Math.max(this.engine.api.timeScale().options().barSpacing, 3) + 4;
    context.fillStyle = this.engine.colours["spot"];
    context.fillRect(this.engine.x(i) - width / 2, 0, width, mediaSize.height);
  }
}
