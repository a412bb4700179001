// Why there is no chart, or why it is not to be trusted, in words.

import { STATES } from "./legend.js";

/**
 * @typedef {object} Situation
 * @property {string} stream what is to be shown; empty if nothing was chosen
 * @property {string} run the script that a link asks for
 * @property {import("./streams.js").Stream | undefined} row what is known of the stream
 * @property {string} failure what the server said when it was asked for bars
 * @property {boolean} bars whether there are any
 * @property {boolean} asked whether the streams are known
 * @property {boolean} lost whether the connection is
 */

/** @type {Record<string, string>} */
const TROUBLES = { down: "The source is down", stale: "The source is silent", healing: "Missing bars are being fetched" };

/**
 * What a banner over the chart says.
 * @param {Situation} situation
 * @returns {[state: string, sentence: string] | null}
 */
export function troubleOf({ row, failure, bars, lost }) {
  if (lost) return ["lost", "The connection is lost: these are old prices. It is tried again by itself."];
  if (failure && bars) return ["down", failure];
  const words = TROUBLES[row?.state ?? ""];
  return row && words ? [row.state, `${words}${row.reason ? `: ${row.reason}` : "."}`] : null;
}

/**
 * What stands in the chart's place.
 * @param {Situation} situation
 * @returns {[title: string, text: string] | null}
 */
export function emptinessOf({ stream, run, row, failure, bars, asked }) {
  if (bars && row) return null;
  if (!asked) return ["Connecting …", "The streams of the bus are being asked for."];
  if (!stream && run) return [`There is no script “${run}”`, "If it comes up later, it is shown here by itself."];
  if (!stream) return ["No stream yet", "The bus is not up, or nobody has published a bar. This page shows it as soon as it is there."];
  if (!row) return [`There is no stream “${stream}”`, "Choose another one. If it comes up later, it is shown here by itself."];
  if (failure) return [`No bars of ${stream}`, failure];
  return [`No bar of ${stream} yet`, `The stream is there (${STATES[row.state] ?? row.state}); its first bar is shown as soon as it is told.`];
}
