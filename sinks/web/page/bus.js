// The bus page: actors, streams, who follows them, the topology and the log, looked at once a second. It shows only.

import { age, amount } from "./format.js";
import { Graph } from "./graph.js";
import { mountHeader } from "./header.js";
import { LogView } from "./log.js";
import { DataTable } from "./table.js";
import { getJson, Live } from "./wire.js";

/** @typedef {{name: string, role: string, phase: string, pid: number, uptime_s: number, restarts: number, why: string,
 *   cpu: number, journal_mb: number, said?: string, warning?: boolean, memory_mb?: number, bars?: number, rate?: number,
 *   lag?: number}} Actor */
/** @typedef {{publisher: string, stream: string, state: string, bars: number, rate: number, lag: number,
 *   last_ms: number, last_price: number | null, origin: string, subscribers: number, age_s: number | null,
 *   counters: Record<string, number>, place: string}} Stream */
/** @typedef {{publisher: string, subscriber: string, host: string, pid: number, streams: number, lag: number,
 *   gaps: number, repairs: number, truncated: number}} Subscriber */
/** @typedef {{now_ms: number, bus: string, fault: string, drawn: number, actors: Actor[], streams: Stream[],
 *   subscribers: Subscriber[]}} Look */

const LOOKS = {
  running: "running", done: "ended", stopped: "ended", quiet: "ended", failed: "down", stalled: "down",
  starting: "waiting", warming: "waiting", draining: "waiting", restarting: "waiting",
}; // an actor's phase in the colours of a stream's state
const LINES = 1_000;

/**
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 */
const element = (id) => /** @type {E} */ (document.getElementById(id));

/** @param {string} phase */
const lookOf = (phase) => LOOKS[/** @type {keyof typeof LOOKS} */ (phase)] ?? "";

/** @param {string} state of a stream */
const gravity = (state) => (state === "silent" || state === "other version" ? "down" : state);

/** @param {number} count */
const whole = (count) => count.toLocaleString("en-US");

/** @param {number} perSecond */
const rate = (perSecond) => (perSecond === 0 ? "0/s" : `${perSecond >= 1 ? perSecond.toFixed(1) : perSecond.toPrecision(2)}/s`);

/** @param {number} seconds */
const share = (seconds) => `${(100 * seconds).toFixed(1)} %`;

/** @type {DataTable<Actor>} */
const actors = new DataTable(
  element("actors"),
  [
    { title: "actor", text: (row) => row.name, said: (row) => `${row.role}${row.pid ? `, pid ${row.pid}` : ""}` },
    { title: "state", text: (row) => row.phase, state: (row) => lookOf(row.phase) },
    { title: "up", number: true, text: (row) => (row.pid ? age(1000 * row.uptime_s) : ""), by: (row) => row.uptime_s },
    { title: "restarts", number: true, text: (row) => (row.restarts ? whole(row.restarts) : ""), by: (row) => row.restarts },
    { title: "memory", number: true, text: (row) => (row.memory_mb ? `${Math.round(row.memory_mb)} MB` : ""), by: (row) => row.memory_mb ?? 0 },
    { title: "cpu", hint: "Share of one core over the last minute", number: true, text: (row) => (row.pid ? share(row.cpu) : ""), by: (row) => row.cpu },
    { title: "rate", hint: "Closed bars a second over the last minute", number: true, text: (row) => (row.pid && row.bars ? rate(row.rate ?? 0) : ""), by: (row) => row.rate ?? 0 },
    { title: "lag", hint: "Messages that it has not got yet", number: true, text: (row) => whole(row.lag ?? 0), by: (row) => row.lag ?? 0 },
    { title: "last said", text: (row) => row.why || (row.said ?? ""), said: (row) => row.why || (row.said ?? "") },
  ],
  (row) => row.name,
  "No actors.",
);

/** @type {DataTable<Stream>} */
const streams = new DataTable(
  element("streams"),
  [
    { title: "stream", text: (row) => row.stream || `(${row.place})`, said: (row) => `of ${row.publisher}` },
    { title: "state", text: (row) => row.state, state: (row) => gravity(row.state) },
    { title: "rate", hint: "Closed bars a second over the last minute", number: true, text: (row) => rate(row.rate), by: (row) => row.rate },
    { title: "lag", hint: "Messages that its publisher's slowest declared consumer has not got", number: true, text: (row) => whole(row.lag), by: (row) => row.lag },
    { title: "last bar", hint: "How long ago the last closed bar came", number: true, text: (row) => (row.age_s === null ? "" : age(1000 * row.age_s)), by: (row) => row.age_s ?? Infinity, said: (row) => (row.last_ms ? `the bar of ${new Date(row.last_ms).toISOString()}` : "") },
    { title: "bars", number: true, text: (row) => amount(row.bars), by: (row) => row.bars },
    { title: "repaired", hint: "Gaps of the venue that were filled", number: true, text: (row) => whole(row.counters.gaps_healed ?? 0), by: (row) => row.counters.gaps_healed ?? 0 },
    { title: "missing", hint: "Bars of the venue that never came", number: true, text: (row) => whole(row.counters.missing ?? 0), by: (row) => row.counters.missing ?? 0 },
    { title: "subscribers", number: true, text: (row) => whole(row.subscribers), by: (row) => row.subscribers },
  ],
  (row) => `${row.publisher}\n${row.stream}`,
  "No streams.",
);

/** @type {DataTable<Subscriber & {place: number}>} */
const subscribers = new DataTable(
  element("subscribers"),
  [
    { title: "subscriber", text: (row) => row.subscriber, said: (row) => `pid ${row.pid} on ${row.host}` },
    { title: "of", text: (row) => row.publisher },
    { title: "host", text: (row) => row.host },
    { title: "streams", number: true, text: (row) => whole(row.streams), by: (row) => row.streams },
    { title: "lag", hint: "Messages that it has not got yet", number: true, text: (row) => whole(row.lag), by: (row) => row.lag },
    { title: "gaps", hint: "Frames that it missed", number: true, text: (row) => whole(row.gaps), by: (row) => row.gaps },
    { title: "repaired", hint: "Records of the journal that it got in their place", number: true, text: (row) => whole(row.repairs), by: (row) => row.repairs },
    { title: "lost", hint: "How often what it wanted was kept no longer", number: true, text: (row) => whole(row.truncated), by: (row) => row.truncated },
  ],
  (row) => `${row.publisher}\n${row.subscriber}\n${row.host}\n${row.pid}\n${row.place}`,
  "Nobody follows a stream.",
);

const filter = /** @type {HTMLInputElement} */ (element("filter"));
const log = new LogView({
  list: element("log"),
  level: /** @type {HTMLSelectElement} */ (element("level")),
  words: /** @type {HTMLInputElement} */ (element("words")),
  more: /** @type {HTMLButtonElement} */ (element("more")),
});
const graph = new Graph(element("graph"), (actor) => {
  log.words.value = log.words.value === actor ? "" : actor;
  log.show();
});
const live = new Live();

/** @type {{look: Look | null, drawn: number, live: Live}} */
const state = { look: null, drawn: -1, live };
Object.assign(window, { dashboard: state });

/** @param {Look} look */
function show(look) {
  state.look = look;
  if (look.drawn !== state.drawn) {
    void load();
    return;
  }
  element("name").textContent = look.bus;
  document.title = `${look.bus} · bus`;
  const running = look.actors.filter(({ phase }) => phase === "running").length;
  const well = look.streams.filter(({ state }) => state === "live" || state === "closed" || state === "ended").length;
  element("counts").textContent = look.fault
    ? "" : `${running} of ${look.actors.length} actors running · ${well} of ${look.streams.length} streams well`;
  say(look.fault);
  fill();
  const phases = new Map(look.actors.map(({ name, phase }) => [name, phase]));
  const states = new Map(look.streams.map((row) => [row.stream, row.state]));
  graph.paint({ actor: (name) => lookOf(phases.get(name) ?? ""), stream: (name) => gravity(states.get(name) ?? "") });
}

/** The tables, as far as their names have what is looked for. */
function fill() {
  const { look } = state;
  if (look === null) return;
  const letters = filter.value.trim().toLowerCase();
  const has = (/** @type {string[]} */ ...names) => names.some((name) => name.toLowerCase().includes(letters));
  actors.update(look.actors.filter(({ name }) => has(name)));
  streams.update(look.streams.filter(({ stream, publisher }) => has(stream, publisher)));
  subscribers.update(look.subscribers
    .map((row, place) => ({ ...row, place }))
    .filter(({ subscriber, publisher }) => has(subscriber, publisher)));
}

/** @param {string} sentence across the page; empty when all is well */
function say(sentence) {
  const banner = element("banner");
  banner.textContent = sentence;
  banner.hidden = sentence === "";
}

/** Everything anew, the graph too. */
async function load() {
  try {
    const look = await getJson("/api/bus");
    if (look.drawn !== state.drawn) {
      state.drawn = look.drawn;
      if (look.graph) graph.draw(look.graph);
    }
    show(look);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
  }
}

async function loadLog() {
  try {
    log.load((await getJson("/api/logs", { limit: LINES })).lines);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
  }
}

mountHeader("bus", live);
filter.addEventListener("input", fill);
live.follow({ bus: true, log: true });
live.on("bus", show);
live.on("log", (lines) => log.add(lines));
live.on("reset", () => void loadLog());
live.on("hello", () => {
  state.drawn = -1;
  void load();
  void loadLog();
});
live.on("state", (now) => {
  document.body.classList.toggle("away", now === "lost");
  if (now === "lost") say("The dashboard does not answer: what is shown is how it was. It is asked on and on.");
});
