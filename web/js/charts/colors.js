// @ts-check
/** The colors of the current theme, read from the style sheet for drawing on canvases. */

/** How many colors series have before they repeat. */
const SERIES_COLORS = 8;

/** @returns {Colors} */
function readColors() {
  const style = getComputedStyle(document.documentElement);
  const token = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  const numbers = Array.from({ length: SERIES_COLORS }, (_, i) => i + 1);
  return {
    grid: token('--grid'),
    text: token('--muted'),
    bad: token('--bad'),
    warn: token('--warn'),
    mark: token('--mark'),
    pass: token('--pass'),
    series: numbers.map((number) => token(`--series-${number}`)),
    tint: numbers.map((number) => token(`--tint-${number}`)),
  };
}

export class Palette {
  constructor() {
    this.colors = readColors();
    /** @type {Set<() => void>} */
    this.listeners = new Set();
  }

  /** Read the colors again: the theme has changed. */
  refresh() {
    this.colors = readColors();
    for (const listener of this.listeners) listener();
  }

  /**
   * Call a listener after each change of colors.
   * @param {() => void} listener
   * @returns {() => void} removes the listener
   */
  onChange(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
