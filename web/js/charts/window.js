// @ts-check
/** The part of a run that is in view, moved and resized within the whole. Pure. */

/** Least length of the part, as a share of the whole. */
const MIN_SHARE = 0.005;

/** @typedef {[first: number, last: number]} Extent */
/** @typedef {'whole' | 'start' | 'end'} Grip what is dragged: the part itself, or one of its ends */

/**
 * Return a part whose ends are within the whole, or as much of it as there is.
 * @param {Extent} part
 * @param {Extent} whole
 * @returns {Extent}
 */
export function clampWindow([from, to], [first, last]) {
  const start = Math.max(first, Math.min(from, last));
  return [start, Math.max(start, Math.min(to, last))];
}

/**
 * Move a part or one of its ends. It keeps its length when it reaches an end of the whole, and ends do not cross.
 * @param {Extent} part
 * @param {Extent} whole
 * @param {Grip} grip
 * @param {number} by
 * @returns {Extent}
 */
export function dragWindow([from, to], [first, last], grip, by) {
  const least = (last - first) * MIN_SHARE;
  if (grip === 'start') return [Math.max(first, Math.min(from + by, to - least)), to];
  if (grip === 'end') return [from, Math.min(last, Math.max(to + by, from + least))];
  const shift = Math.max(first - from, Math.min(by, last - to));
  return [from + shift, to + shift];
}

/**
 * Make a part longer or shorter around its middle.
 * @param {Extent} part
 * @param {Extent} whole
 * @param {number} factor
 * @returns {Extent}
 */
export function scaleWindow([from, to], whole, factor) {
  const middle = (from + to) / 2;
  const half = Math.max(((to - from) * factor) / 2, ((whole[1] - whole[0]) * MIN_SHARE) / 2);
  return clampWindow([middle - half, middle + half], whole);
}
