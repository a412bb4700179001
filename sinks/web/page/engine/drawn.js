// The drawings of a run that stand, and what the forming bar does otherwise.

/** @typedef {import("./drawings.js").Fields} Fields */
/** @typedef {[string, string, number, Fields]} Change what is done to which kind of drawing with which id, its fields */

export class Drawn {
  constructor() {
    /** By kind, then by id, in the order in which they were made. @type {Map<string, Map<number, Fields>>} */
    this.closed = new Map();
    /** How the forming bar has it; null is taken away. @type {Map<string, Map<number, Fields | null>>} */
    this.forming = new Map();
  }

  /** @param {Change} change */
  put([op, kind, id, fields]) {
    if (op === "delete") this.closed.get(kind)?.delete(id);
    else of(this.closed, kind).set(id, op === "create" ? fields : changed(this.closed.get(kind)?.get(id), fields));
  }

  /** @param {{kind: string, id: number, fields: Fields}[]} all that stand */
  reset(all) {
    this.closed.clear();
    this.forming.clear();
    for (const { kind, id, fields } of all) of(this.closed, kind).set(id, fields);
  }

  /**
   * How the forming bar draws otherwise than the last closed one; nothing of an update before stands.
   * @param {Change[]} changes
   */
  form(changes) {
    this.forming.clear();
    for (const [op, kind, id, fields] of changes) {
      const now = op === "delete" ? null : op === "create" ? fields : changed(this.closed.get(kind)?.get(id), fields);
      of(this.forming, kind).set(id, now);
    }
  }

  /**
   * @param {string} kind
   * @param {number} id
   * @returns {Fields | null | undefined}
   */
  get(kind, id) {
    const now = this.forming.get(kind)?.get(id);
    return now === undefined ? this.closed.get(kind)?.get(id) : now;
  }

  /**
   * All of a kind as they are now.
   * @param {string} kind
   * @returns {Fields[]}
   */
  all(kind) {
    const forming = this.forming.get(kind);
    const closed = this.closed.get(kind) ?? new Map();
    if (!forming) return [...closed.values()];
    return [...new Map([...closed, ...forming]).values()].filter((fields) => fields !== null);
  }
}

/**
 * @template Value
 * @param {Map<string, Map<number, Value>>} kinds
 * @param {string} kind
 */
function of(kinds, kind) {
  const known = kinds.get(kind) ?? new Map();
  kinds.set(kind, known);
  return known;
}

/**
 * A drawing's fields after an update; of a table's cells only those that have changed are in it.
 * @param {Fields | undefined} before
 * @param {Fields} news
 */
function changed(before, news) {
  const after = { ...before, ...news };
  if (before?.cells && news.cells) {
    const cells = new Map([...before.cells, ...news.cells].map((cell) => [`${cell.col} ${cell.row}`, cell]));
    after.cells = [...cells.values()].filter((cell) => Object.keys(cell).length > 2); // else it was cleared
  }
  return after;
}
