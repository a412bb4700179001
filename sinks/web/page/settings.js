// What a person has chosen, kept in this browser. Where storage is forbidden, it holds until the page is left.

/** @type {Map<string, string>} */
const kept = new Map();

/**
 * @param {string} name
 * @param {string} other what holds when nothing was chosen
 */
export function recall(name, other) {
  try {
    return localStorage.getItem(`pynelive.${name}`) ?? other;
  } catch {
    return kept.get(name) ?? other;
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
export function remember(name, value) {
  kept.set(name, value);
  try {
    localStorage.setItem(`pynelive.${name}`, value);
  } catch {
    // kept in memory only
  }
}
