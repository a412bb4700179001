// A strategy's equity and its drawdown, over lightweight-charts: one above the other, on one axis of time.

import { amount, momentText, price } from "../format.js";
import { loadLibrary, stamp } from "./chart.js";
import { markText, zonedAxis } from "./scale.js";

/**
 * @typedef {import("../format.js").Zone} Zone
 * @typedef {[number, number, number]} Point  when, the equity, and how far it is below its peak
 */

const NAMES = ["bg", "grid", "line", "muted", "text", "up", "down", "crosshair"];

export class EquityCurve {
  /**
   * @param {typeof import("lightweight-charts")} library
   * @param {HTMLElement} element
   * @param {Zone} zone
   * @param {(point: Point | null) => void} point hears of the point under the crosshair
   */
  constructor(library, element, zone, point) {
    this.library = library;
    this.zone = zone;
    this.api = library.createChartEx(element, zonedAxis(library, () => this.zone), {});
    this.equity = this.api.addSeries(library.BaselineSeries, {}, 0);
    this.drawdown = this.api.addSeries(library.AreaSeries, {}, 1);
    this.api.panes()[0].setStretchFactor(0.72);
    this.api.panes()[1].setStretchFactor(0.28);
    /** @type {Map<number, Point>} */
    this.points = new Map();
    this.paint = () => this.restyle();
    addEventListener("theme", this.paint);
    this.api.subscribeCrosshairMove(({ time }) => point(time === undefined ? null : (this.points.get(Number(time)) ?? null)));
    this.restyle();
  }

  /**
   * @param {HTMLElement} element
   * @param {Zone} zone
   * @param {(point: Point | null) => void} point
   */
  static async make(element, zone, point) {
    return new EquityCurve(await loadLibrary(), element, zone, point);
  }

  /** All of it. @param {Point[]} points */
  set(points) {
    this.points = new Map(points.map((point) => [stamp(point[0]), point]));
    const first = points.length ? points[0][1] : 0;
    this.equity.applyOptions({ baseValue: { type: "price", price: first } });
    this.equity.setData(points.map(([ms, equity]) => ({ time: stamp(ms), value: equity })));
    this.drawdown.setData(points.map(([ms, , below]) => ({ time: stamp(ms), value: -below })));
    this.api.timeScale().fitContent();
  }

  /** One more at the end. @param {Point} point */
  add(point) {
    const [ms, equity, below] = point;
    const whole = this.isWhole();
    this.points.set(stamp(ms), point);
    this.equity.update({ time: stamp(ms), value: equity });
    this.drawdown.update({ time: stamp(ms), value: -below });
    if (whole) this.api.timeScale().fitContent();
  }

  /** Whether all of it is seen: then it goes on to be, otherwise what is looked at is left alone. */
  isWhole() {
    const range = this.api.timeScale().getVisibleLogicalRange();
    return range === null || range.from < 1;
  }

  remove() {
    removeEventListener("theme", this.paint);
    this.api.remove();
  }

  restyle() {
    const style = getComputedStyle(document.documentElement);
    const colours = Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    const { bg, grid, line, muted, up, down, crosshair, text } = colours;
    const cross = { color: crosshair, labelBackgroundColor: document.documentElement.dataset.theme === "dark" ? "#3a4256" : text };
    const options = {
      autoSize: true,
      layout: {
        background: { type: this.library.ColorType.Solid, color: bg },
        textColor: muted,
        fontSize: 11,
        fontFamily: getComputedStyle(document.body).fontFamily,
        panes: { separatorColor: line, separatorHoverColor: line, enableResize: false },
      },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      crosshair: { vertLine: cross, horzLine: cross },
      rightPriceScale: { borderColor: line, minimumWidth: 64 },
      timeScale: {
        borderColor: line,
        timeVisible: true,
        minBarSpacing: 0.05,
        tickMarkFormatter: (/** @type {import("lightweight-charts").Time} */ time, /** @type {number} */ kind) => markText(this.zone, time, kind),
      },
      localization: {
        timeFormatter: (/** @type {import("lightweight-charts").Time} */ time) => momentText(this.zone.at(Number(time) * 1000), 60_000),
      },
    };
    this.api.applyOptions(options);
    const format = (/** @type {number} */ value) => (Math.abs(value) >= 1e6 ? amount(value) : price(value, Math.abs(value) >= 1000 ? 0 : 2));
    const priceFormat = { type: /** @type {const} */ ("custom"), minMove: 0.01, formatter: format };
    this.equity.applyOptions({
      priceFormat,
      lineWidth: 2,
      priceLineVisible: false,
      topLineColor: up,
      topFillColor1: `${up}40`,
      topFillColor2: `${up}08`,
      bottomLineColor: down,
      bottomFillColor1: `${down}08`,
      bottomFillColor2: `${down}40`,
    });
    this.drawdown.applyOptions({
      priceFormat,
      lineWidth: 1,
      lineColor: down,
      topColor: `${down}10`,
      bottomColor: `${down}50`,
      invertFilledArea: true,
      priceLineVisible: false,
      lastValueVisible: false,
    });
  }
}
