// What keys do on the chart page, and the panel that says so.

import { make } from "./header.js";

/** @typedef {[keys: string[], text: string, act: (event: KeyboardEvent) => void]} Binding `text` empty: not in the panel */

/** @type {Record<string, string>} */
const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

/**
 * @param {Binding[]} bindings
 * @param {HTMLElement} panel what is filled with them
 */
export function bindKeys(bindings, panel) {
  const acts = new Map(bindings.flatMap(([keys, , act]) => keys.map((key) => [key, act])));
  document.addEventListener("keydown", (event) => {
    const act = acts.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
    if (!act || event.ctrlKey || event.metaKey || event.altKey || isTaken(event)) return;
    event.preventDefault();
    act(event);
  });
  for (const [keys, text] of bindings) {
    if (text) panel.append(make("dt", {}, ...keys.map((key) => make("kbd", {}, NAMES[key] ?? key.toUpperCase()))), make("dd", {}, text));
  }
}

/**
 * Whether what has the focus takes the key itself; what is in a dialog that was closed just now has it for a moment yet.
 * @param {KeyboardEvent} event
 */
function isTaken(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  return target.checkVisibility() && target.closest("input, select, textarea, dialog, [popover]") !== null;
}
