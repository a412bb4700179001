// The header that all three pages share: their names, whether the server is heard, dark or light.

import { remember } from "./settings.js";

/** @typedef {import("./wire.js").Live} Live */

const PAGES = [
  ["chart", "/", "Chart"],
  ["strategy", "/strategy", "Strategy"],
  ["bus", "/bus", "Bus"],
];

const WORDS = { connecting: "connecting", live: "connected", lost: "connection lost" };

const SUN = "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2";

/**
 * Makes an element: `make("button", { class: "button", title: "…" }, "text", child…)`.
 * @param {string} tag
 * @param {Record<string, string | boolean>} [attributes] a true one is set without a value, a false one is left out
 * @param {...(Node | string)} inside
 * @returns {HTMLElement}
 */
export function make(tag, attributes = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...inside);
  return element;
}

/**
 * An icon of one path on a 24 × 24 grid.
 * @param {string} path
 */
export function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/**
 * Fills the page's `<header class="top">`: brand and pages before what the page itself has in it, the connection
 * and the theme after.
 * @param {"chart" | "strategy" | "bus"} page
 * @param {Live} live
 */
export function mountHeader(page, live) {
  const header = /** @type {HTMLElement} */ (document.querySelector("header.top"));
  header.prepend(brand(), pages(page));
  header.append(connection(live), themeSwitch());
}

function brand() {
  const logo = make("img", { src: "/page/icon.svg", alt: "", width: "20", height: "20" });
  return make("a", { class: "brand", href: "/", title: "pynelive" }, logo, make("span", {}, "pynelive"));
}

/** @param {string} active */
function pages(active) {
  const links = PAGES.map(([name, href, text]) =>
    make("a", { href, "data-testid": `page-${name}`, ...(name === active ? { "aria-current": "page" } : {}) }, text),
  );
  return make("nav", { class: "pages", "aria-label": "Pages" }, ...links);
}

/** @param {Live} live */
function connection(live) {
  const text = make("span", {}, WORDS.connecting);
  const box = make(
    "div",
    { class: "connection", "data-testid": "connection", "data-state": "connecting", role: "status" },
    make("i", { class: "dot" }),
    text,
  );
  live.on("state", (/** @type {keyof typeof WORDS} */ state) => {
    box.dataset.state = document.documentElement.dataset.connection = state;
    box.title = text.textContent = WORDS[state];
  });
  return box;
}

function themeSwitch() {
  const button = make(
    "button",
    { class: "icon-button", type: "button", title: "Dark or light", "aria-label": "Dark or light", "data-testid": "theme" },
    icon(SUN),
  );
  button.addEventListener("click", () => {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    remember("theme", root.dataset.theme);
    dispatchEvent(new Event("theme"));
  });
  return button;
}
