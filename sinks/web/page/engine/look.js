// How the chart looks: the page's colours as the library's options.

import { momentText, price } from "../format.js";
import { markText } from "./scale.js";

/** @typedef {import("./chart.js").ChartEngine} ChartEngine */

export const RIGHT_OFFSET = 6;
const NAMES = ["bg", "grid", "line", "text", "muted", "faint", "accent", "up", "down", "up-soft", "down-soft", "warn", "bad", "crosshair", "label", "press", "spot"];

/** The colours of the page's theme by their CSS names. */
export function themeColours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** @param {ChartEngine} engine */
export function chartOptions(engine) {
  const { bg, grid, muted, line, press, crosshair, label } = engine.colours;
  const cross = { color: crosshair, labelBackgroundColor: label };
  return {
    autoSize: true,
    layout: {
      background: { type: engine.library.ColorType.Solid, color: bg },
      textColor: muted,
      fontSize: 11,
      fontFamily: getComputedStyle(document.body).fontFamily,
      panes: { separatorColor: line, separatorHoverColor: press, enableResize: true },
    },
    grid: { vertLines: { color: grid }, horzLines: { color: grid } },
    crosshair: { mode: engine.library.CrosshairMode.Normal, vertLine: cross, horzLine: cross },
    rightPriceScale: { borderColor: line, minimumWidth: 64 },
    timeScale: {
      borderColor: line,
      rightOffset: RIGHT_OFFSET,
      barSpacing: 7,
      minBarSpacing: 0.4,
      timeVisible: engine.grid.timeframeMs < 86_400_000,
      secondsVisible: engine.grid.timeframeMs < 60_000,
      tickMarkFormatter: (/** @type {import("lightweight-charts").Time} */ time, /** @type {number} */ kind) =>
        markText(engine.zone, time, kind),
    },
    localization: {
      timeFormatter: (/** @type {import("lightweight-charts").Time} */ time) =>
        momentText(engine.zone.at(Number(time) * 1000), engine.grid.timeframeMs),
    },
  };
}

/** @param {ChartEngine} engine */
export function candleOptions(engine) {
  const { up, down } = engine.colours;
  const { digits, mintick } = engine.grid;
  return {
    upColor: up,
    downColor: down,
    borderVisible: false,
    wickUpColor: up,
    wickDownColor: down,
    priceLineColor: engine.muted ? engine.colours.faint : "",
    priceFormat: { type: /** @type {const} */ ("custom"), minMove: mintick, formatter: (/** @type {number} */ value) => price(value, digits) },
  };
}
