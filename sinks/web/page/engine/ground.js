// What the layers over the candles stand on: a script's plots and drawings, trades.

/** @typedef {import("./chart.js").ChartEngine} ChartEngine */

/**
 * ``bars`` are those of the window, the forming one is the last; their index is the engine's logical index. A layer
 * gives its series no time outside of them.
 * @param {ChartEngine} engine
 */
export function groundOf(engine) {
  const { window } = engine;
  return {
    library: engine.library,
    api: engine.api,
    /** the candles: primitives and markers are attached to it */
    main: engine.closed,
    bars: {
      get length() {
        return window.length;
      },
      /** @param {number} i */
      time: (i) => window.at(i)?.time ?? NaN,
      /** @param {number} i */
      open: (i) => window.at(i)?.open ?? NaN,
      /** @param {number} i */
      high: (i) => window.at(i)?.high ?? NaN,
      /** @param {number} i */
      low: (i) => window.at(i)?.low ?? NaN,
      /** @param {number} i */
      close: (i) => window.at(i)?.close ?? NaN,
      /** the last bar that opens at or before the time, -1 before the first @param {number} ms */
      indexOf: (ms) => window.indexOf(ms),
    },
    get timeframeMs() {
      return engine.grid.timeframeMs;
    },
    get mintick() {
      return engine.grid.mintick;
    },
    get mincontract() {
      return engine.grid.mincontract;
    },
    get digits() {
      return engine.grid.digits;
    },
    get dark() {
      return document.documentElement.dataset.theme === "dark";
    },
    /** after anything was drawn @param {() => void} f */
    onFrame: (f) => engine.on("frame", f),
    /** @param {() => void} f */
    onTheme: (f) => engine.on("theme", f),
    /** all work of one frame together, after the candles' own @param {() => void} f */
    nextFrame: (f) => engine.nextFrame(f),
  };
}

/** @typedef {ReturnType<typeof groundOf>} Ground */
