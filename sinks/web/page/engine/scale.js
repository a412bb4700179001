// The time axis in any time zone. lightweight-charts counts days and hours in UTC; which points of the axis are
// the first of their day or hour is said here by the clocks of the zone that was chosen.

import { axisText } from "../format.js";

/** @typedef {import("../format.js").Zone} Zone */

const HOUR = 3_600_000;

/** The library's own weights of marks, the longest spans first. @type {[number, number][]} */
const SPANS = [
  [12 * HOUR, 33],
  [6 * HOUR, 32],
  [3 * HOUR, 31],
  [HOUR, 30],
  [HOUR / 2, 22],
  [HOUR / 12, 21],
  [HOUR / 60, 20],
  [1000, 10],
];

/**
 * How heavy the mark is where one bar opens at `now` and the one before it at `past`, both as their clocks say.
 * @param {number} now
 * @param {number} past
 */
function weight(now, past) {
  const [date, before] = [new Date(now), new Date(past)];
  if (date.getUTCFullYear() !== before.getUTCFullYear()) return 70;
  if (date.getUTCMonth() !== before.getUTCMonth()) return 60;
  if (date.getUTCDate() !== before.getUTCDate()) return 50;
  return SPANS.find(([span]) => Math.floor(now / span) !== Math.floor(past / span))?.[1] ?? 0;
}

/**
 * The library's behaviour of a time axis, in the zone that `zone` gives at the moment.
 * @param {typeof import("lightweight-charts")} library
 * @param {() => Zone} zone
 */
export function zonedAxis(library, zone) {
  const Axis = library.defaultHorzScaleBehavior();
  return new (class extends Axis {
    /**
     * @param {readonly {timeWeight: number, originalTime: unknown}[]} points
     * @param {number} start
     */
    fillWeightsForPoints(points, start = 0) {
      const shown = (/** @type {number} */ i) => {
        const ms = Number(points[i].originalTime) * 1000;
        return ms + zone().offset(ms);
      };
      let past = start > 0 ? shown(start - 1) : points.length > 1 ? 2 * shown(0) - shown(1) : NaN;
      for (let i = start; i < points.length; i++) {
        const now = shown(i);
        points[i].timeWeight = weight(now, past);
        past = now;
      }
    }
  })();
}

/**
 * The text of a mark of the axis.
 * @param {Zone} zone
 * @param {import("lightweight-charts").Time} time
 * @param {number} kind
 */
export function markText(zone, time, kind) {
  return axisText(zone.at(Number(time) * 1000), kind);
}
