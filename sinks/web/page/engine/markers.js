// A strategy's trades on the candles: an arrow where something was bought or sold, with its name, its size and what was
// earned; and, for the trade that is pointed at, a line from its entry to its exit.

import { price, signed, size as sizeText } from "../format.js";

/**
 * @typedef {import("./ground.js").Ground} Ground
 * @typedef {{entry_id: string, entry_ms: number, entry_price: number, size: number, profit: number,
 *   entry_comment: string, exit_id: string, exit_ms: number | null, exit_price: number, exit_comment: string}} Trade
 *   as `/api/trades` has it; `exit_ms` is null while it is open
 * @typedef {{entry_id: string, entry_ms: number, entry_price: number, size: number, profit: number, comment: string}} Holding
 * @typedef {{ms: number, buy: boolean, names: Set<string>, size: number, profit: number | null, prices: Set<number>,
 *   trades: Trade[], box: Box | null}} Mark  what was bought, or sold, on one bar; the box is where it was drawn last
 * @typedef {{left: number, right: number, top: number, bottom: number}} Box
 * @typedef {{x1: number, y1: number, x2: number, y2: number, text: string, open: boolean, colour: string}} Line
 * @typedef {CanvasRenderingContext2D} Pen
 */

const ARROW = 5;
const GAP = 5;
const LINE = 13;

export class TradeMarkers {
  /**
   * @param {Ground} ground
   * @param {string} run
   */
  constructor(ground, run) {
    this.ground = ground;
    this.run = run;
    /** @type {Trade[]} */
    this.closed = [];
    /** @type {Trade[]} */
    this.open = [];
    /** @type {Mark[]} in order of their time */
    this.marks = [];
    /** @type {Mark[]} those that are seen */
    this.drawn = [];
    this.visible = true;
    /** @type {Trade | null} */
    this.hovered = null;
    /** @type {Trade | null} */
    this.chosen = null;
    /** @type {number | null} the trade of this time is chosen as soon as it is known */
    this.time = null;
    this.redraw = () => {};
    this.colours = themeColours();
    this.views = [{ zOrder: () => /** @type {const} */ ("top"), renderer: () => this }];
    ground.main.attachPrimitive(this);
    this.hover = this.point.bind(this);
    this.click = () => this.choose(this.hovered === this.chosen ? null : this.hovered);
    ground.api.subscribeCrosshairMove(this.hover);
    ground.api.subscribeClick(this.click);
    this.deaf = ground.onTheme(() => (this.colours = themeColours()));
  }

  // ---- what it shows ----

  /** All closed trades that are known. @param {Trade[]} trades */
  setTrades(trades) {
    this.closed = trades;
    this.arrange();
  }

  /** One more was closed. @param {Trade} trade */
  add(trade) {
    this.closed.push(trade);
    this.arrange();
  }

  /** The trades that are open now. @param {Holding[]} holdings */
  setOpen(holdings) {
    const known = (/** @type {Trade[]} */ trades) => trades.map((each) => `${each.entry_ms} ${each.size}`).join();
    const before = known(this.open);
    this.open = holdings.map(({ comment, ...held }) => ({
      ...held,
      entry_comment: comment,
      exit_id: "",
      exit_ms: null,
      exit_price: NaN,
      exit_comment: "",
    }));
    if (known(this.open) !== before) this.arrange();
  }

  /** @param {boolean} yes */
  setVisible(yes) {
    this.visible = yes;
    this.redraw();
  }

  /** Show this trade's line until another one is chosen. @param {Trade | null} trade */
  choose(trade) {
    this.time = null;
    this.chosen = trade;
    this.redraw();
  }

  /** Choose the trade of a time, now or when it comes to be known. @param {number | null} ms */
  pointAt(ms) {
    this.choose(ms === null ? null : this.at(ms));
    this.time = ms;
  }

  /** The trade that was open at a time, of several the one that was entered last. @param {number} ms */
  at(ms) {
    const open = [...this.closed, ...this.open].filter(({ entry_ms, exit_ms }) => entry_ms <= ms && ms <= (exit_ms ?? Infinity));
    return open.sort((one, other) => one.entry_ms - other.entry_ms).at(-1) ?? null;
  }

  /** Take all of it away. */
  remove() {
    this.deaf();
    this.ground.api.unsubscribeCrosshairMove(this.hover);
    this.ground.api.unsubscribeClick(this.click);
    this.ground.main.detachPrimitive(this);
  }

  /** What happened on one bar to one side is one mark. */
  arrange() {
    /** @type {Map<string, Mark>} */
    const marks = new Map();
    const put = (/** @type {Trade} */ trade, /** @type {number} */ ms, /** @type {number} */ price, /** @type {number} */ size, /** @type {string} */ name) => {
      const key = `${ms} ${size > 0}`;
      const mark = marks.get(key) ?? { ms, buy: size > 0, names: new Set(), size: 0, profit: null, prices: new Set(), trades: [], box: null };
      marks.set(key, mark);
      if (name) mark.names.add(name);
      mark.size += size;
      mark.prices.add(price);
      mark.trades.push(trade);
      return mark;
    };
    for (const trade of [...this.closed, ...this.open]) {
      put(trade, trade.entry_ms, trade.entry_price, trade.size, trade.entry_comment || trade.entry_id);
      if (trade.exit_ms === null) continue;
      const exit = put(trade, trade.exit_ms, trade.exit_price, -trade.size, trade.exit_comment || trade.exit_id);
      exit.profit = (exit.profit ?? 0) + trade.profit;
    }
    this.marks = [...marks.values()].sort((one, other) => one.ms - other.ms);
    if (this.time !== null) this.chosen = this.at(this.time);
    this.redraw();
  }

  // ---- what the engine asks ----

  /** @param {{requestUpdate: () => void}} attached */
  attached({ requestUpdate }) {
    this.redraw = requestUpdate;
  }

  detached() {
    this.redraw = () => {};
  }

  paneViews() {
    return this.views;
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  hitTest(x, y) {
    const at = this.drawn.findIndex(({ box }) => box && x >= box.left && x <= box.right && y >= box.top && y <= box.bottom);
    if (at < 0) return null;
    return { externalId: `${this.run} ${at}`, cursorStyle: "pointer", zOrder: /** @type {const} */ ("top") };
  }

  /** @param {{hoveredObjectId?: unknown}} pointer */
  point({ hoveredObjectId }) {
    const [run, at] = String(hoveredObjectId ?? "").split(/ (?=\d+$)/);
    const mark = run === this.run ? this.drawn[Number(at)] : undefined;
    const trade = mark?.trades.at(-1) ?? null;
    if (trade === this.hovered) return;
    this.hovered = trade;
    this.redraw();
  }

  /** @param {{useMediaCoordinateSpace: (draw: (scope: {context: Pen, mediaSize: {width: number}}) => void) => void}} target */
  draw(target) {
    this.drawn = this.visible ? this.seen() : [];
    if (!this.visible) return;
    target.useMediaCoordinateSpace(({ context, mediaSize }) => {
      context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
      context.textAlign = "center";
      context.textBaseline = "middle";
      const lines = [...new Set([this.chosen, this.hovered])].flatMap((trade) => (trade ? (this.lineOf(trade) ?? []) : []));
      for (const line of lines) this.drawLine(context, line);
      const free = { buy: -Infinity, sell: -Infinity };
      for (const mark of this.drawn) this.drawMark(context, mark, mediaSize.width, free);
      for (const line of lines) this.drawLabel(context, line);
    });
  }

  // ---- drawing ----

  /** The marks of the bars that are seen, and a few beside them. */
  seen() {
    const { bars, api } = this.ground;
    const range = api.timeScale().getVisibleLogicalRange();
    if (range === null || bars.length === 0) return [];
    const bar = (/** @type {number} */ i) => bars.time(Math.min(Math.max(Math.floor(i), 0), bars.length - 1));
    const [first, last] = [bar(range.from - 10), bar(range.to + 10)];
    const begin = this.marks.findIndex(({ ms }) => ms >= first);
    return begin < 0 ? [] : this.marks.slice(begin, this.marks.findLastIndex(({ ms }) => ms <= last) + 1);
  }

  /** Where a bar is, in px; null where it is not in the window. @param {number} ms */
  x(ms) {
    const { bars, timeframeMs, api } = this.ground;
    const i = bars.indexOf(ms);
    if (i < 0 || ms >= bars.time(i) + timeframeMs) return null;
    return api.timeScale().logicalToCoordinate(/** @type {import("lightweight-charts").Logical} */ (i));
  }

  /** @param {number} value */
  y(value) {
    return this.ground.main.priceToCoordinate(value);
  }

  /**
   * @param {Pen} pen
   * @param {Mark} mark
   * @param {number} width
   * @param {{buy: number, sell: number}} free where the next text may begin: texts do not cover one another
   */
  drawMark(pen, mark, width, free) {
    mark.box = null;
    const x = this.x(mark.ms);
    if (x === null || x < -40 || x > width + 40) return;
    const i = this.ground.bars.indexOf(mark.ms);
    const edge = this.y(mark.buy ? this.ground.bars.low(i) : this.ground.bars.high(i));
    if (edge === null) return;
    const down = mark.buy ? 1 : -1;
    const colour = this.colours[mark.buy ? "accent" : "down"];
    const tip = edge + GAP * down;
    this.drawArrow(pen, x, tip, down, colour);
    this.drawPrices(pen, mark, x, colour);
    const side = mark.buy ? "buy" : "sell";
    const texts = this.texts(mark);
    const wide = Math.max(...texts.map(([text]) => pen.measureText(text).width));
    const told = x - wide / 2 > free[side];
    if (told) {
      free[side] = x + wide / 2 + 8;
      texts.forEach(([text, paint], line) => this.drawText(pen, text, x, tip + (3 * ARROW + LINE * (line + 0.2)) * down, paint ?? colour));
    }
    const end = tip + (2 * ARROW + (told ? LINE * (texts.length + 0.4) : 3)) * down;
    const reach = told ? Math.max(wide / 2, ARROW + 3) : ARROW + 3;
    mark.box = { left: x - reach, right: x + reach, top: Math.min(edge, end), bottom: Math.max(edge, end) };
  }

  /**
   * @param {Mark} mark
   * @returns {[string, string | null][]} texts, from the arrow outwards, and their colours
   */
  texts({ names, size, profit }) {
    /** @type {[string, string | null][]} */
    const texts = [...names].slice(0, 2).map((name) => [name.slice(0, 24), null]);
    texts.push([(size > 0 ? "+" : "") + sizeText(size, this.ground.mincontract), this.colours.muted]);
    if (profit !== null) texts.push([signed(profit, 2), this.colours[profit < 0 ? "down" : "up"]]);
    return texts;
  }

  /** @param {Pen} pen @param {number} x @param {number} tip @param {number} down @param {string} colour */
  drawArrow(pen, x, tip, down, colour) {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.moveTo(x, tip);
    pen.lineTo(x - ARROW, tip + ARROW * 1.2 * down);
    pen.lineTo(x - 1.5, tip + ARROW * 1.2 * down);
    pen.lineTo(x - 1.5, tip + ARROW * 2.2 * down);
    pen.lineTo(x + 1.5, tip + ARROW * 2.2 * down);
    pen.lineTo(x + 1.5, tip + ARROW * 1.2 * down);
    pen.lineTo(x + ARROW, tip + ARROW * 1.2 * down);
    pen.closePath();
    pen.fill();
  }

  /** A tick at each price that was paid, where bars are wide enough to tell. @param {Pen} pen @param {Mark} mark @param {number} x @param {string} colour */
  drawPrices(pen, mark, x, colour) {
    const half = Math.min(this.ground.api.timeScale().options().barSpacing / 2, 9);
    if (half < 3) return;
    pen.fillStyle = colour;
    for (const paid of mark.prices) {
      const y = this.y(paid);
      if (y !== null) pen.fillRect(x - half - 2, y - 1, half, 2);
    }
  }

  /** @param {Pen} pen @param {string} text @param {number} x @param {number} y @param {string} colour */
  drawText(pen, text, x, y, colour) {
    pen.lineWidth = 3;
    pen.lineJoin = "round";
    pen.strokeStyle = this.colours.bg;
    pen.strokeText(text, x, y);
    pen.fillStyle = colour;
    pen.fillText(text, x, y);
  }

  /** From entry to exit, to the last price while it is open; null where an end is not in the window. @param {Trade} trade @returns {Line | null} */
  lineOf(trade) {
    const { bars, digits, mincontract } = this.ground;
    const last = bars.length - 1;
    const [exitMs, exitPrice] = trade.exit_ms === null ? [bars.time(last), bars.close(last)] : [trade.exit_ms, trade.exit_price];
    const [x1, y1, x2, y2] = [this.x(trade.entry_ms), this.y(trade.entry_price), this.x(exitMs), this.y(exitPrice)];
    if (x1 === null || y1 === null || x2 === null || y2 === null) return null;
    const side = trade.size > 0 ? "Long" : "Short";
    const text = `${side} ${sizeText(Math.abs(trade.size), mincontract)}   ${price(trade.entry_price, digits)} → ${price(exitPrice, digits)}   ${signed(trade.profit, 2)}`;
    return { x1, y1, x2, y2, text, open: trade.exit_ms === null, colour: this.colours[trade.profit < 0 ? "down" : "up"] };
  }

  /** @param {Pen} pen @param {Line} line */
  drawLine(pen, { x1, y1, x2, y2, open, colour }) {
    pen.strokeStyle = colour;
    pen.lineWidth = 2;
    pen.setLineDash(open ? [5, 4] : []);
    pen.beginPath();
    pen.moveTo(x1, y1);
    pen.lineTo(x2, y2);
    pen.stroke();
    pen.setLineDash([]);
    pen.fillStyle = colour;
    for (const [x, y] of [[x1, y1], [x2, y2]]) {
      pen.beginPath();
      pen.arc(x, y, 3.5, 0, 2 * Math.PI);
      pen.fill();
    }
  }

  /** @param {Pen} pen @param {Line} line */
  drawLabel(pen, { x1, y1, x2, y2, text, colour }) {
    const [x, y] = [(x1 + x2) / 2, Math.min(y1, y2) - 24];
    const half = pen.measureText(text).width / 2 + 7;
    pen.fillStyle = this.colours.bg;
    pen.strokeStyle = colour;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.roundRect(x - half, y - 10, 2 * half, 20, 4);
    pen.fill();
    pen.stroke();
    pen.fillStyle = colour;
    pen.fillText(text, x, y + 0.5);
  }
}

/** @returns {Record<string, string>} */
function themeColours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["bg", "accent", "up", "down", "muted"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}
