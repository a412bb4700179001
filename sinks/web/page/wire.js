// How the page reads from its server: JSON, bars in columns, and what happens as it happens.

/** @typedef {string | number | boolean | null | undefined} Param */
/** @typedef {{head: any, columns: Record<string, Float64Array>}} Columns */
/** @typedef {{streams?: string[], quotes?: boolean, bus?: boolean, alerts?: boolean, log?: boolean, runs?: boolean}} Wants */
/** @typedef {"connecting" | "live" | "lost"} LinkState */

const FIRST_PAUSE_MS = 500;
const LAST_PAUSE_MS = 15_000;
const GROWS = 1.7;

/**
 * @param {string} path
 * @param {Record<string, Param>} params those that are null or undefined are left out
 */
async function ask(path, params) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined) query.set(name, String(value));
  }
  const text = query.toString();
  const answer = await fetch(text ? `${path}?${text}` : path);
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({ error: `${path}: the server answers ${answer.status}` }));
  throw new Error(said.error);
}

/**
 * What the server answers in JSON; throws an Error whose message is the server's sentence.
 * @param {string} path
 * @param {Record<string, Param>} [params]
 * @returns {Promise<any>}
 */
export async function getJson(path, params = {}) {
  return (await ask(path, params)).json();
}

/**
 * What the server answers in columns: a head in JSON, and an array of numbers a column, NaN where there is none.
 * @param {string} path
 * @param {Record<string, Param>} [params]
 * @returns {Promise<Columns>}
 */
export async function getColumns(path, params = {}) {
  const body = await (await ask(path, params)).arrayBuffer();
  const length = new DataView(body).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(body, 4, length)));
  /** @type {Record<string, Float64Array>} */
  const columns = Object.create(null); // a plot may be called anything, also what objects have anyway
  head.columns.forEach((/** @type {string} */ name, /** @type {number} */ place) => {
    columns[name] ??= new Float64Array(body, 4 + length + place * head.count * 8, head.count);
  });
  return { head, columns };
}

/**
 * The live connection: comes back by itself, and says again what is followed.
 *
 * Listeners get a message's elements without its kind; `state` gets a LinkState, `hello` the server's boot and whether
 * it is the one of before (numbers of changes mean nothing to another one).
 */
export class Live {
  constructor() {
    /** @type {Map<string, Set<(...said: any[]) => void>>} */
    this.listeners = new Map();
    /** @type {LinkState} */
    this.state = "connecting";
    this.boot = "";
    this.tries = 0;
    this.closed = false;
    /** @type {Wants} */
    this.wants = {};
    /** @type {WebSocket | null} */
    this.socket = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.connect();
  }

  /**
   * Follow this, and nothing of before.
   * @param {Wants} wants
   */
  follow(wants) {
    this.wants = wants;
    if (this.state === "live") this.say();
  }

  /**
   * Hear messages of a kind; returns what ends that.
   * @param {string} kind
   * @param {(...said: any[]) => void} heard
   */
  on(kind, heard) {
    const all = this.listeners.get(kind) ?? new Set();
    this.listeners.set(kind, all.add(heard));
    return () => void all.delete(heard);
  }

  /** Leave for good. */
  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }

  connect() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    this.socket = socket;
    socket.onmessage = (event) => {
      for (const [kind, ...said] of JSON.parse(event.data)) this.take(kind, said);
    };
    socket.onclose = () => {
      if (this.closed) return;
      this.turn("lost");
      const pause = Math.min(FIRST_PAUSE_MS * GROWS ** this.tries++, LAST_PAUSE_MS);
      this.timer = setTimeout(() => this.connect(), pause * (0.75 + Math.random() / 2));
    };
  }

  /**
   * @param {string} kind
   * @param {any[]} said
   */
  take(kind, said) {
    if (kind !== "hello") {
      this.emit(kind, ...said);
      return;
    }
    const same = this.boot === "" || this.boot === said[0];
    this.boot = said[0];
    this.tries = 0;
    this.say();
    this.turn("live");
    this.emit("hello", this.boot, same);
  }

  say() {
    this.socket?.send(JSON.stringify(["follow", this.wants]));
  }

  /** @param {LinkState} state */
  turn(state) {
    if (state === this.state) return;
    this.state = state;
    this.emit("state", state);
  }

  /**
   * @param {string} kind
   * @param {any[]} said
   */
  emit(kind, ...said) {
    for (const heard of this.listeners.get(kind) ?? []) heard(...said);
  }
}
