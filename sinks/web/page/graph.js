// The topology as a graph: drawn with DOM calls where plan.js says, coloured by states; a box that is pointed at shows
// what it hangs together with.

import { LANE_PAD, layout, SMALL } from "./plan.js";

/** @typedef {import("./plan.js").Actor} Actor */
/** @typedef {import("./plan.js").Box} Box */
/** @typedef {import("./plan.js").Lane} Lane */
/** @typedef {import("./plan.js").Line} Line */
/** @typedef {import("./plan.js").Outline} Outline */
/** @typedef {import("./plan.js").Plan} Plan */
/** @typedef {{actor: (name: string) => string, stream: (name: string) => string}} States */

const SMALLEST = 0.75; // what the drawing is shrunk to, before one has to scroll
const GRAVE = ["silent", "down", "other version", "stale", "healing", "", "live", "closed", "ended"]; // the gravest first

/**
 * @param {string} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {...(Node | string)} inside
 */
function svg(tag, attributes = {}, ...inside) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...inside);
  return element;
}

/**
 * A text that is cut where it would leave its box; a letter is about so wide.
 * @param {string} text
 * @param {number} width
 * @param {number} letter
 */
function fitted(text, width, letter) {
  const most = Math.floor(width / letter);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** The drawing, in an element of its own. */
export class Graph {
  /**
   * @param {HTMLElement} host
   * @param {(actor: string) => void} chosen an actor was clicked
   */
  constructor(host, chosen) {
    this.host = host;
    this.chosen = chosen;
    /** @type {Map<Box, SVGElement>} */
    this.drawn = new Map();
    /** @type {Map<Line, SVGElement>} */
    this.curves = new Map();
  }

  /**
   * Draw anew.
   * @param {Outline} outline
   */
  draw(outline) {
    const plan = layout(outline);
    this.drawn.clear();
    this.curves.clear();
    const root = svg("svg", {
      viewBox: `0 0 ${plan.width} ${plan.height}`, role: "group",
      "aria-label": `The topology of ${outline.bus}`,
    });
    for (const lane of plan.lanes.filter(({ name }) => name !== "")) root.append(...drawnLane(lane, plan.width));
    for (const line of plan.lines) {
      const curve = drawnLine(line);
      this.curves.set(line, curve);
      root.append(curve);
    }
    for (const each of plan.boxes.filter(({ kind }) => kind !== "pass")) {
      const drawn = each.actor ? drawnActor(each, each.actor) : drawnStreams(each);
      this.listen(each, drawn, plan);
      this.drawn.set(each, drawn);
      root.append(drawn);
    }
    root.style.maxWidth = `${plan.width}px`; // as wide as there is room, and never too small to read
    root.style.minWidth = `${SMALLEST * plan.width}px`;
    this.host.replaceChildren(root);
  }

  /**
   * Colour what is drawn.
   * @param {States} states
   */
  paint(states) {
    for (const [each, drawn] of this.drawn) {
      const state = each.actor ? states.actor(each.actor.name) : worst(each.streams.map(states.stream));
      drawn.dataset.state = state;
      const name = each.actor ? `${each.actor.role} ${each.actor.name}` : each.streams.join(", ");
      drawn.setAttribute("aria-label", `${name}: ${state || "state not known"}`);
    }
    for (const [line, curve] of this.curves) curve.dataset.state = worst(line.streams.map(states.stream));
  }

  /**
   * @param {Box} each
   * @param {SVGElement} drawn
   * @param {Plan} plan
   */
  listen(each, drawn, plan) {
    const show = () => this.highlight(each, plan);
    const hide = () => this.highlight(null, plan);
    drawn.addEventListener("pointerenter", show);
    drawn.addEventListener("pointerleave", hide);
    drawn.addEventListener("focus", show);
    drawn.addEventListener("blur", hide);
    const { actor } = each;
    if (!actor) return;
    drawn.addEventListener("click", () => this.chosen(actor.name));
    drawn.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        this.chosen(actor.name);
      }
    });
  }

  /**
   * Show what the box hears, and who hears of it; the rest steps back.
   * @param {Box | null} each
   * @param {Plan} plan
   */
  highlight(each, plan) {
    const before = each ? reached(each, plan.lines, "to", "from") : new Set();
    const behind = each ? reached(each, plan.lines, "from", "to") : new Set();
    for (const [other, drawn] of this.drawn) {
      drawn.classList.toggle("off", each !== null && !before.has(other) && !behind.has(other));
    }
    for (const [line, curve] of this.curves) {
      const on = (behind.has(line.from) && behind.has(line.to)) || (before.has(line.from) && before.has(line.to));
      curve.classList.toggle("off", each !== null && !on);
      curve.classList.toggle("on", each !== null && on);
    }
  }
}

/**
 * All that can be reached from a box, itself too.
 * @param {Box} each
 * @param {Line[]} lines
 * @param {"from" | "to"} start
 * @param {"from" | "to"} end
 */
function reached(each, lines, start, end) {
  const found = new Set([each]);
  for (const box of found) {
    for (const line of lines) if (line[start] === box) found.add(line[end]);
  }
  return found;
}

/**
 * The state of several streams: the gravest.
 * @param {string[]} states
 */
function worst(states) {
  return states.toSorted((a, b) => GRAVE.indexOf(a) - GRAVE.indexOf(b))[0] ?? "";
}

/**
 * A curve between two layers; within a layer of several columns it goes straight.
 * @param {Line} line
 */
function drawnLine({ from, to, streams }) {
  const [y1, y2] = [from.y + from.height / 2, to.y + to.height / 2];
  const [x1, x2] = [from.end, to.begin];
  const bend = Math.max((x2 - x1) / 2, 20);
  const start = from.kind === "pass" ? from.x : from.x + from.width;
  return svg(
    "g",
    { class: "wire" },
    svg("title", {}, streams.join("\n")),
    svg("path", { d: `M${x1},${y1}C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}` }),
    svg("path", { class: from.kind === "pass" ? "" : "through", d: `M${start},${y1}H${x1}` }),
    svg("path", { class: "through", d: `M${x2},${y2}H${to.x}` }),
  );
}

/**
 * @param {Lane} lane
 * @param {number} width
 */
function drawnLane(lane, width) {
  return [
    svg("rect", { class: "lane", x: 0.5, y: lane.y + 0.5, width: width - 1, height: lane.height - 1, rx: 8 }),
    svg("text", { class: "lane-name", x: LANE_PAD, y: lane.y + 19 }, lane.name),
  ];
}

/**
 * @param {Box} each
 * @param {Actor} actor
 */
function drawnActor({ x, y, width, height }, actor) {
  return svg(
    "g",
    { class: `node ${actor.role}`, transform: `translate(${x},${y})`, tabindex: 0, role: "button", "data-actor": actor.name },
    svg("title", {}, `${actor.role} ${actor.name}: ${actor.kind}`),
    svg("rect", { class: "frame", width, height, rx: actor.role === "sink" ? 3 : 7 }),
    svg("circle", { class: "lamp", cx: 13, cy: height > SMALL ? 13 : height / 2, r: 4 }),
    svg("text", { class: "name", x: 23, y: height > SMALL ? 17 : height / 2 + 4 }, fitted(actor.name, width - 30, 6.6)),
    ...(height > SMALL ? [svg("text", { class: "kind", x: 23, y: 31 }, fitted(short(actor), width - 30, 5.6))] : []),
  );
}

/**
 * What it runs, without the folders.
 * @param {Actor} actor
 */
function short(actor) {
  const kind = actor.kind.split("/").at(-1) ?? "";
  return actor.role === "runner" ? kind : `${actor.role} · ${kind}`;
}

/** @param {Box} each */
function drawnStreams({ x, y, width, height, streams }) {
  const own = streams[0].slice(streams[0].indexOf(":") + 1);
  const text = streams.length === 1 ? own : `${streams.length} streams`;
  return svg(
    "g",
    { class: "node stream", transform: `translate(${x},${y})`, tabindex: 0, role: "img", "data-streams": streams.length },
    svg("title", {}, streams.join("\n")),
    svg("rect", { class: "frame", width, height, rx: height / 2 }),
    svg("circle", { class: "lamp", cx: 12, cy: height / 2, r: 3 }),
    svg("text", { class: "name", x: 21, y: height / 2 + 4 }, fitted(text, width - 28, 6)),
  );
}
