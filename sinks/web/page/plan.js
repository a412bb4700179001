// Where the boxes and lines of a drawn topology go: from left to right, each behind what it hears, a lane a host.

/** @typedef {{name: string, role: "producer" | "runner" | "sink", kind: string, host: string, publishes: string[]}} Actor */
/** @typedef {{publisher: string, consumer: string, streams: string[]}} Reading */
/** @typedef {{bus: string, hosts: string[], nodes: Actor[], edges: Reading[]}} Outline */
/** @typedef {{kind: "actor" | "stream" | "pass", actor: Actor | null, streams: string[], host: string, layer: number,
 *   column: number, x: number, y: number, width: number, height: number, begin: number, end: number}} Box  an actor,
 *   streams of one, or the place where a line passes a layer that it has nothing to do with; its layer from left to
 *   right */
/** @typedef {{from: Box, to: Box, streams: string[]}} Line */
/** @typedef {{name: string, y: number, height: number}} Lane */
/** @typedef {{boxes: Box[], lines: Line[], lanes: Lane[], width: number, height: number}} Plan */

const SIZES = { actor: [148, 38], stream: [142, 22], pass: [0, 2] };
const ROOMY = 7; // so many boxes on top of each other; where there are more, all have one line
export const SMALL = 22; // how tall a box of one line is
const TALL = 12; // so many of these, and a layer takes another column
const GAP = 8;
const NARROW = 4; // below a line that only passes
const HALF = (SMALL + GAP) / 2;
const LAYER_GAP = 56;
const COLUMN_GAP = 12;
export const LANE_PAD = 14;
const LANE_TITLE = 18;
const ALONE = 3; // so many streams with the same readers are still drawn one by one

/**
 * Where everything goes.
 * @param {Outline} outline
 * @returns {Plan}
 */
export function layout(outline) {
  const direct = boxed(outline);
  layer(direct.boxes, direct.lines);
  const { boxes, lines } = passing(direct.boxes, direct.lines);
  const layers = layersOf(boxes.filter(({ kind }) => kind !== "pass"));
  if (layers.some((own) => own.length > ROOMY)) for (const each of boxes) each.height = Math.min(each.height, SMALL);
  const hosts = outline.hosts.length > 0 ? outline.hosts : [""];
  /** @type {Lane[]} */
  const lanes = [];
  let top = 0;
  for (const host of hosts) {
    const own = boxes.filter((box) => box.host === host);
    if (own.length === 0) continue;
    const title = host === "" ? 0 : LANE_TITLE;
    const height = stack(own, lines, top + title + LANE_PAD);
    lanes.push({ name: host, y: top, height: height + title + 2 * LANE_PAD });
    top += height + title + 2 * LANE_PAD + GAP;
  }
  const width = across(boxes);
  return { boxes, lines, lanes, width, height: Math.max(top - GAP, 0) };
}

/**
 * A box an actor, and between a producer and its readers one a stream; many streams with the same readers share one.
 * @param {Outline} outline
 */
function boxed(outline) {
  /** @type {Map<string, Box>} */
  const boxes = new Map();
  /** @type {Line[]} */
  const lines = [];
  for (const actor of outline.nodes) boxes.set(actor.name, box("actor", actor, [], actor.host));
  for (const actor of outline.nodes) {
    const here = /** @type {Box} */ (boxes.get(actor.name));
    for (const [readers, streams] of readersOf(outline, actor)) {
      let from = here;
      if (actor.role !== "runner") {
        from = box("stream", null, streams, actor.host);
        boxes.set(`${actor.name}\n${streams[0]}`, from);
        lines.push({ from: here, to: from, streams });
      }
      for (const reader of readers) lines.push({ from, to: /** @type {Box} */ (boxes.get(reader)), streams });
    }
  }
  return { boxes: [...boxes.values()], lines };
}

/**
 * @param {Box["kind"]} kind
 * @param {Actor | null} actor
 * @param {string[]} streams
 * @param {string} host
 * @returns {Box}
 */
function box(kind, actor, streams, host) {
  const [width, height] = SIZES[kind];
  return { kind, actor, streams, host, layer: 0, column: 0, x: 0, y: 0, width, height, begin: 0, end: 0 };
}

/**
 * The same where no line is longer than from one layer to the next: the long ones of a box pass together.
 * @param {Box[]} boxes
 * @param {Line[]} lines
 */
function passing(boxes, lines) {
  const all = [...boxes];
  /** @type {Line[]} */
  const short = [];
  for (const from of boxes) {
    /** @type {Box[]} */
    const passes = [from];
    for (const { to, streams } of lines.filter((line) => line.from === from)) {
      for (let at = passes.length; at < to.layer - from.layer; at++) {
        const pass = { ...box("pass", null, [], from.host), layer: from.layer + at };
        short.push({ from: passes[at - 1], to: pass, streams });
        passes.push(pass);
        all.push(pass);
      }
      short.push({ from: passes[Math.max(to.layer - from.layer - 1, 0)], to, streams });
    }
  }
  return { boxes: all, lines: short };
}

/**
 * The actor's streams, those with the same readers together.
 * @param {Outline} outline
 * @param {Actor} actor
 * @returns {[string[], string[]][]}
 */
function readersOf(outline, actor) {
  /** @type {Map<string, string[]>} */
  const alike = new Map();
  for (const stream of actor.publishes) {
    const readers = outline.edges.filter((edge) => edge.publisher === actor.name && edge.streams.includes(stream));
    const key = readers.map((edge) => edge.consumer).join("\n");
    alike.set(key, [...(alike.get(key) ?? []), stream]);
  }
  return [...alike].flatMap(([key, streams]) => {
    const readers = key === "" ? [] : key.split("\n");
    const parts = streams.length <= ALONE ? streams.map((stream) => [stream]) : [streams];
    return parts.map((part) => /** @type {[string[], string[]]} */ ([readers, part]));
  });
}

/**
 * Each box behind all that it hears; sinks at the end.
 * @param {Box[]} boxes
 * @param {Line[]} lines
 */
function layer(boxes, lines) {
  for (let round = 0; round < boxes.length; round++) {
    let moved = false;
    for (const { from, to } of lines) {
      if (to.layer <= from.layer && from.layer < boxes.length) {
        to.layer = from.layer + 1;
        moved = true;
      }
    }
    if (!moved) break;
  }
  const last = Math.max(0, ...boxes.map((each) => each.layer + (each.actor?.role === "runner" ? 1 : 0)));
  for (const each of boxes) if (each.actor?.role === "sink") each.layer = last;
}

/**
 * The boxes of one lane from top to bottom, each near those that it hears; returns how tall that is.
 * @param {Box[]} boxes
 * @param {Line[]} lines
 * @param {number} top
 */
function stack(boxes, lines, top) {
  const layers = layersOf(boxes);
  const columns = layers.flatMap(split);
  const height = Math.max(...columns.map(tall));
  for (const column of columns) place(column, top + (height - tall(column)) / 2);
  for (let sweep = 0; sweep < 6; sweep++) {
    for (const own of sweep % 2 === 0 ? layers : layers.toReversed()) {
      const wish = new Map(own.map((each) => [each, middle(each, lines)]));
      const sorted = own.toSorted((a, b) => (wish.get(a) ?? 0) - (wish.get(b) ?? 0));
      const parts = split(sorted);
      if (parts.length === 1) settle(parts[0], wish, top, height);
      else for (const [number, part] of parts.entries()) place(part, top + (number % 2) * HALF); // lines pass in between
    }
  }
  return height;
}

/** @param {Box[]} boxes */
function layersOf(boxes) {
  const numbers = [...new Set(boxes.map((each) => each.layer))].sort((a, b) => a - b);
  return numbers.map((number) => boxes.filter((each) => each.layer === number));
}

/**
 * A layer in columns that are not too tall, filled row by row: what hangs together stays together.
 * @param {Box[]} own
 */
function split(own) {
  const shown = own.filter(({ kind }) => kind !== "pass");
  if (shown.length <= TALL) return [own];
  const count = Math.ceil(shown.length / TALL);
  shown.forEach((each, place) => (each.column = place % count));
  const columns = Array.from({ length: count }, (_, column) => shown.filter((each) => each.column === column));
  columns[0].push(...own.filter(({ kind }) => kind === "pass")); // below all of them
  return columns;
}

/**
 * From a box to the one below.
 * @param {Box} each
 */
const step = (each) => each.height + (each.kind === "pass" ? NARROW : GAP);

/** @param {Box[]} column */
function tall(column) {
  return column.reduce((sum, each) => sum + step(each), column[0].column > 0 ? HALF - GAP : -GAP);
}

/**
 * @param {Box[]} column
 * @param {number} top
 */
function place(column, top) {
  for (const each of column) {
    each.y = top;
    top += step(each);
  }
}

/**
 * The middle of those that the box is connected with.
 * @param {Box} each
 * @param {Line[]} lines
 */
function middle(each, lines) {
  const near = lines.flatMap(({ from, to }) => (from === each ? [to] : to === each ? [from] : []));
  if (near.length === 0) return each.y + each.height / 2;
  return near.reduce((sum, other) => sum + other.y + other.height / 2, 0) / near.length;
}

/**
 * As near to where they want to be as their order and the lane let them.
 * @param {Box[]} column
 * @param {Map<Box, number>} wish
 * @param {number} top
 * @param {number} height
 */
function settle(column, wish, top, height) {
  let free = top;
  for (const each of column) {
    each.y = Math.max(free, (wish.get(each) ?? 0) - each.height / 2);
    free = each.y + step(each);
  }
  let end = top + height + GAP;
  for (const each of column.toReversed()) {
    each.y = Math.min(each.y, end - step(each));
    end = each.y;
  }
}

/**
 * From left to right, over all lanes; returns how wide that is.
 * @param {Box[]} boxes
 */
function across(boxes) {
  let left = LANE_PAD;
  for (const own of layersOf(boxes)) {
    const wide = Math.max(...own.map((each) => each.width));
    for (const each of own) each.x = left + each.column * (wide + COLUMN_GAP);
    const end = left + (Math.max(...own.map((each) => each.column)) + 1) * (wide + COLUMN_GAP) - COLUMN_GAP;
    for (const each of own) {
      [each.begin, each.end] = [left, end];
      if (each.kind === "pass") each.width = end - left;
    }
    left = end + LAYER_GAP;
  }
  return left - LAYER_GAP + LANE_PAD;
}
