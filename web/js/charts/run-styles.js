// @ts-check
/**
 * Which line style each compared run has: a known one, so that it keeps it whatever is added or removed, else one by
 * its id. Pure.
 */

/** So many styles differ in color, and so many in color or dash. */
const COLORS = 8;
const STYLES = 32;

/** @param {string} text */
function hash(text) {
  let value = 2166136261;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 16777619);
  return value >>> 0;
}

/**
 * Return a style number for each run: the known one, else one by its id, another one where that is taken.
 * @param {ReadonlyMap<string, number>} known
 * @param {readonly string[]} ids
 * @returns {Map<string, number>} known runs included
 */
export function assignStyles(known, ids) {
  const styles = new Map(known);
  /** @type {Set<number>} */
  const taken = new Set();
  const wanting = [];
  for (const id of [...ids].sort()) {
    const number = known.get(id);
    if (number === undefined || taken.has(number)) wanting.push(id);
    else taken.add(number);
  }
  for (const id of wanting) {
    const number = freeStyle(hash(id) % COLORS, taken);
    taken.add(number);
    styles.set(id, number);
  }
  return styles;
}

/**
 * @param {number} preferred
 * @param {ReadonlySet<number>} taken
 */
function freeStyle(preferred, taken) {
  for (let i = 0; i < STYLES; i++) {
    const number = Math.floor(i / COLORS) * COLORS + ((preferred + i) % COLORS);
    if (!taken.has(number)) return number;
  }
  return preferred;
}
