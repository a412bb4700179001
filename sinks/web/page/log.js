// The live log: lines of all actors as they come, from a level on, with some words in them. It follows its end, and
// stands still while somebody reads further up.

import { make } from "./header.js";

/** @typedef {[number, string, string, string, string]} LogLine  number, time, actor, level, text */

const LEVELS = ["debug", "info", "warning", "error"];
const KEPT = 5_000;
const SHOWN = 1_000;
const NEAR_PX = 24;

/** The list below its own filters. */
export class LogView {
  /** @param {{list: HTMLElement, level: HTMLSelectElement, words: HTMLInputElement, more: HTMLButtonElement}} parts */
  constructor({ list, level, words, more }) {
    this.list = list;
    this.level = level;
    this.words = words;
    this.more = more;
    /** @type {LogLine[]} */
    this.lines = [];
    this.unseen = 0;
    this.follows = true; // until somebody scrolls up
    level.addEventListener("change", () => this.show());
    words.addEventListener("input", () => this.show());
    more.addEventListener("click", () => this.toEnd());
    list.addEventListener("scroll", () => {
      this.follows = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_PX;
      if (this.follows) this.seen();
    });
    new ResizeObserver(() => {
      if (this.follows) this.toEnd();
    }).observe(list);
  }

  /**
   * All that the server has, instead of what was here.
   * @param {LogLine[]} lines
   */
  load(lines) {
    this.lines = lines.slice(-KEPT);
    this.show();
  }

  /**
   * Lines that have come since.
   * @param {LogLine[]} lines
   */
  add(lines) {
    const last = this.lines.at(-1)?.[0] ?? -1;
    const fresh = lines.filter(([number]) => number > last);
    this.lines = [...this.lines, ...fresh].slice(-KEPT);
    const wanted = fresh.filter((line) => this.wants(line));
    if (wanted.length === 0) return;
    this.list.querySelector(".empty")?.remove();
    this.list.append(...wanted.map(row));
    if (this.follows) {
      while (this.list.childElementCount > SHOWN) this.list.firstElementChild?.remove();
      this.toEnd();
    } else {
      this.unseen += wanted.length;
      this.more.textContent = `${this.unseen} new ${this.unseen === 1 ? "line" : "lines"} ↓`;
      this.more.hidden = false;
    }
  }

  /** The lines that are wanted now. */
  show() {
    const wanted = this.lines.filter((line) => this.wants(line)).slice(-SHOWN);
    const none = make("div", { class: "empty" }, this.lines.length === 0 ? "Nothing was logged yet." : "No line is like that.");
    this.list.replaceChildren(...(wanted.length === 0 ? [none] : wanted.map(row)));
    this.toEnd();
  }

  /** @param {LogLine} line */
  wants([, , actor, level, text]) {
    const words = this.words.value.trim().toLowerCase();
    return LEVELS.indexOf(level) >= LEVELS.indexOf(this.level.value) && `${actor} ${text}`.toLowerCase().includes(words);
  }

  toEnd() {
    this.follows = true;
    this.list.scrollTop = this.list.scrollHeight;
    this.seen();
  }

  seen() {
    this.unseen = 0;
    this.more.hidden = true;
  }
}

/** @param {LogLine} line */
function row([, time, actor, level, text]) {
  return make(
    "div",
    { class: "entry", "data-level": level },
    make("time", { datetime: time, title: time }, time.slice(11, 23)),
    make("b", {}, actor),
    make("span", {}, text),
  );
}
