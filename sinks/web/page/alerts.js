// What scripts have called out: a list, newest first, and notifications of the browser for who wants them.

import { momentText, zoneOf } from "./format.js";
import { icon, make } from "./header.js";
import { recall, remember } from "./settings.js";
import { getJson } from "./wire.js";

/**
 * @typedef {import("./wire.js").Live} Live
 * @typedef {import("./format.js").Zone} Zone
 * @typedef {{run: string, time_ms: number, message: string, title: string}} Alert
 */

const MOST = 300;
const GATHER_MS = 400;
const BELL = "M6 9a6 6 0 0 1 12 0c0 6 2 7 2 8H4c0-1 2-2 2-8M10 20a2 2 0 0 0 4 0";

/**
 * Fills the element with the alerts of a run, or of all. The page follows `alerts`, or the run's stream.
 * @param {HTMLElement} element
 * @param {Live} live
 * @param {{run?: string, go?: (alert: Alert) => void, zone?: () => Zone}} [options] `go`: an alert was clicked
 * @returns what ends it
 */
export function mountAlerts(element, live, { run, go, zone = chosenZone } = {}) {
  const list = make("ol", { class: "alerts", "data-testid": "alerts", "aria-live": "polite" });
  const none = make("p", { class: "empty" }, "No alerts yet. Scripts say them by alert(), alertcondition() and alert_message.");
  element.replaceChildren(notifyButton(), list, none);
  /** @type {Set<string>} what is in the list, and was of late: an answer may hold what was told meanwhile */
  const known = new Set();
  /** @type {WeakMap<Element, Alert>} */
  const alerts = new WeakMap();

  const show = (/** @type {Alert} */ alert) => {
    const key = `${alert.run} ${alert.time_ms} ${alert.title} ${alert.message}`;
    if (known.has(key)) return false;
    known.add(key);
    if (known.size > 4 * MOST) known.delete(/** @type {string} */ (known.values().next().value));
    const older = [...list.children].find((line) => Number(/** @type {HTMLElement} */ (line).dataset.ms) <= alert.time_ms);
    const line = row(alert, zone(), go);
    alerts.set(line, alert);
    list.insertBefore(line, older ?? null);
    if (list.children.length > MOST) list.lastElementChild?.remove();
    none.hidden = true;
    return true;
  };
  const load = async () => {
    try {
      const said = await getJson("/api/alerts", { run, limit: MOST });
      said.alerts.forEach(show);
    } catch (error) {
      none.textContent = /** @type {Error} */ (error).message;
    }
  };
  const retell = () => {
    for (const line of list.children) {
      /** @type {Element} */ (line.querySelector(".muted")).textContent = about(/** @type {Alert} */ (alerts.get(line)), zone());
    }
  };
  addEventListener("zone", retell);
  const deaf = [
    () => removeEventListener("zone", retell),
    live.on("hello", load),
    live.on("reset", (/** @type {string} */ stream) => void (stream === "" && load())),
    live.on("a", (/** @type {string} */ stream, /** @type {number} */ _, /** @type {Omit<Alert, "run">} */ said) => {
      const alert = { run: stream, ...said };
      if ((!run || stream === run) && show(alert)) notify(alert);
    }),
  ];
  if (live.state === "live") load();
  return () => deaf.forEach((end) => end());
}

function chosenZone() {
  const name = recall("zone", "UTC");
  return zoneOf(name === "exchange" ? "UTC" : name);
}

/**
 * @param {Alert} alert
 * @param {Zone} zone
 * @param {((alert: Alert) => void) | undefined} go
 */
function row(alert, zone, go) {
  const words = [make("span", { class: "words" }, alert.message), make("span", { class: "muted" }, about(alert, zone))];
  const line = make("button", { type: "button", "data-testid": "alert" }, ...words);
  if (go) line.addEventListener("click", () => go(alert));
  return make("li", { "data-ms": String(alert.time_ms) }, line);
}

/** @param {Alert} alert @param {Zone} zone */
function about({ run, title, time_ms }, zone) {
  return [nameOf(run), title, momentText(zone.at(time_ms), 60_000)].filter(Boolean).join(" · ");
}

/** @param {string} run */
function nameOf(run) {
  return run.replace(/^run:/, "");
}

// ---- notifications: for what comes while the page is open, never for what has been ----

/** @type {Alert[]} */
const waiting = [];

/** Those of one moment are one notification; several windows of the browser show it once. @param {Alert} alert */
function notify(alert) {
  if (!notifies()) return;
  if (waiting.push(alert) > 1) return;
  setTimeout(() => {
    const alerts = waiting.splice(0);
    const [{ run, message, time_ms }] = alerts;
    const title = alerts.length > 1 ? `${alerts.length} alerts` : nameOf(run);
    const body = alerts.length > 1 ? alerts.slice(0, 5).map((each) => `${nameOf(each.run)}: ${each.message}`).join("\n") : message;
    new Notification(title, { body, tag: `pynelive ${run} ${time_ms}`, icon: "/page/icon.svg" });
  }, GATHER_MS);
}

function notifies() {
  return "Notification" in window && Notification.permission === "granted" && recall("notify", "off") === "on";
}

function notifyButton() {
  const text = make("span");
  const button = make("button", { class: "button outlined notify", type: "button", "data-testid": "notify" }, icon(BELL), text);
  const show = () => {
    const blocked = "Notification" in window ? Notification.permission === "denied" : true;
    text.textContent = blocked ? "Notifications are blocked by this browser" : notifies() ? "Notifications are on" : "Notify me";
    button.setAttribute("aria-pressed", String(notifies()));
    button.toggleAttribute("disabled", blocked);
  };
  button.addEventListener("click", async () => {
    const on = !notifies();
    if (on) await Notification.requestPermission();
    remember("notify", on ? "on" : "off");
    show();
  });
  show();
  return button;
}
