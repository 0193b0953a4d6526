// @ts-check
/** What keys do on the focused chart. */

/** @type {ReadonlyMap<string, number>} */
const ARROWS = new Map([
  ['ArrowLeft', -1],
  ['ArrowRight', 1],
]);
/** @type {ReadonlyMap<string, number>} */
const ZOOM_FACTORS = new Map([
  ['+', 0.5],
  ['=', 0.5],
  ['-', 2],
]);
/** @type {ReadonlyMap<string, number>} with Shift */
const VALUE_ZOOM_FACTORS = new Map([
  ['ArrowUp', 0.5],
  ['ArrowDown', 2],
]);
/** How much of the visible range an arrow with Shift moves it by. */
const PAN_SHARE = 0.25;

/**
 * @typedef {object} Crosshair
 * @property {number | null} x
 * @property {(by: number) => boolean} move by buckets; false without data
 * @property {() => void} hide
 */

/**
 * Carry out a key.
 * @param {KeyboardEvent} event
 * @param {import('../charts/chart.js').Chart} chart
 * @param {Crosshair} crosshair
 * @returns {boolean} whether the key meant something
 */
export function carryOutKey(event, chart, crosshair) {
  if (event.altKey || event.metaKey || event.ctrlKey) return false;
  const arrow = ARROWS.get(event.key);
  const zoom = ZOOM_FACTORS.get(event.key);
  const valueZoom = event.shiftKey ? VALUE_ZOOM_FACTORS.get(event.key) : undefined;
  if (valueZoom) chart.magnifyValues(valueZoom);
  else if (arrow && event.shiftKey) chart.shift(arrow * PAN_SHARE);
  else if (arrow) return crosshair.move(arrow);
  else if (zoom) chart.magnify(crosshair.x, zoom);
  else if (event.key === 'Enter') chart.openMark(crosshair.x);
  else if (event.key === 'Escape') crosshair.hide();
  else return false;
  return true;
}
