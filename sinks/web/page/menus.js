// Menus that open under a button (the browser's own popovers, put beside what opens them), and tabs.

import { make } from "./header.js";

/**
 * @typedef {object} Choice
 * @property {string} text
 * @property {boolean} on
 * @property {string} [id] for tests and for whoever looks it up
 * @property {() => void} pick
 */

/**
 * Let the button open a menu of choices, asked for each time it opens.
 * @param {HTMLElement} button
 * @param {string} title what the menu is, for those who do not see it
 * @param {boolean} many whether several may be on at once; then it stays open
 * @param {() => Choice[]} choices
 */
export function menuOf(button, title, many, choices) {
  const menu = make("div", { class: "menu", popover: true, role: "menu", "aria-label": title });
  /** @type {HTMLButtonElement} */ (button).popoverTargetElement = menu;
  button.setAttribute("aria-haspopup", "menu");
  const fill = () => {
    const all = choices();
    menu.replaceChildren(...all.map((choice) => line(choice, many, () => (many ? fill() : menu.hidePopover()))));
    if (all.length === 0) menu.append(make("p", { class: "empty" }, `No ${title.toLowerCase()} here.`));
  };
  menu.addEventListener("beforetoggle", (event) => {
    if (/** @type {ToggleEvent} */ (event).newState === "open") fill();
  });
  menu.addEventListener("toggle", (event) => {
    if (/** @type {ToggleEvent} */ (event).newState !== "open") return;
    place(menu, button);
    menu.querySelector("button")?.focus();
  });
  menu.addEventListener("keydown", (event) => step(menu, event));
  document.body.append(menu);
}

/**
 * @param {Choice} choice
 * @param {boolean} many
 * @param {() => void} done
 */
function line({ text, on, id, pick }, many, done) {
  const role = many ? "menuitemcheckbox" : "menuitemradio";
  const mark = make("span", { class: "mark" }, on ? "✓" : "");
  const button = make("button", { type: "button", role, "aria-checked": String(on), "data-testid": id ?? text }, mark, text);
  button.addEventListener("click", () => {
    pick();
    done();
  });
  return button;
}

/**
 * Below the button, or above it where there is no room below.
 * @param {HTMLElement} menu
 * @param {HTMLElement} button
 */
function place(menu, button) {
  const [at, size] = [button.getBoundingClientRect(), menu.getBoundingClientRect()];
  const below = at.bottom + size.height + 8 < innerHeight;
  menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - size.width - 8))}px`;
  menu.style.top = `${below ? at.bottom + 4 : Math.max(8, at.top - size.height - 4)}px`;
}

/**
 * @param {HTMLElement} menu
 * @param {KeyboardEvent} event
 */
function step(menu, event) {
  const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (way === undefined) return;
  const lines = [...menu.querySelectorAll("button")];
  lines[(lines.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement)) + way + lines.length) % lines.length]?.focus();
  event.preventDefault();
}

/** A tab of the page shows the panel that it controls, and hides those of the others. */
export function bindTabs() {
  const tabs = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[role=tab]"));
  for (const tab of tabs) {
    tab.addEventListener("click", () => {
      for (const each of tabs) {
        each.setAttribute("aria-selected", String(each === tab));
        /** @type {HTMLElement} */ (document.getElementById(each.getAttribute("aria-controls") ?? "")).hidden = each !== tab;
      }
    });
  }
}
