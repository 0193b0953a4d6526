// @ts-check
/** Looks up the values of a picture under the crosshair. Pure. */
import { isInGap } from '../data/gaps.js';
import { axisColumn, axisOrigin, nearestIndex } from '../data/series.js';

/**
 * Return the values of all current lines at an x value, in the order of the lines. One that has a gap there has none.
 * @param {Picture} picture
 * @param {number} x
 * @returns {Reading[]}
 */
export function readLines({ axis, lines }, x) {
  /** @type {Reading[]} */
  const readings = [];
  for (const { series, label, color, superseded, gaps = [] } of lines) {
    const i = superseded ? -1 : nearestIndex(axisColumn(series, axis), series.n, x);
    if (i < 0 || (axis !== 'step' && isInGap(series, gaps, x + axisOrigin(series, axis)))) continue;
    const count = series.count[i];
    const value = count === 1 ? series.last[i] : series.mean[i];
    readings.push({
      key: series.key,
      label,
      color,
      x: series.x[i],
      value,
      min: series.min[i],
      max: series.max[i],
      count,
    });
  }
  return readings;
}

/**
 * Return the line whose value a chart shows as its figure: the first current one with data.
 * @param {readonly Line[]} lines
 * @returns {Line | undefined}
 */
export const subjectLine = (lines) => lines.find((line) => !line.superseded && line.series.n > 0);

/**
 * Return the texts of events within some distance of an x value.
 * @param {Picture} picture
 * @param {number} x
 * @param {number} distance
 * @returns {Note[]}
 */
export const eventsNear = ({ events }, x, distance) =>
  events.filter((event) => Math.abs(event.x - x) <= distance).map(({ text, color }) => ({ text, color }));

/**
 * Return the mark nearest to an x value that leads somewhere, if there is one within some distance; those of commands
 * come before others.
 * @param {Picture} picture
 * @param {number} x
 * @param {number} distance
 * @returns {EventMark | undefined}
 */
export function markNear({ events }, x, distance) {
  const away = (/** @type {EventMark} */ event) => Math.abs(event.x - x);
  const near = events.filter((event) => !event.minor && away(event) <= distance);
  return near.sort((a, b) => Number(!a.command) - Number(!b.command) || away(a) - away(b))[0];
}

/**
 * Return the x value some buckets away from another one.
 * @param {Picture} picture
 * @param {number | null} x null for the end of the line
 * @param {number} by buckets to the right
 * @returns {number | null} null without data
 */
export function neighborX({ axis, lines }, x, by) {
  const series = lines.at(-1)?.series;
  if (!series || series.n === 0) return null;
  const xs = axisColumn(series, axis);
  const start = x === null ? series.n - (by < 0 ? 0 : 1) : nearestIndex(xs, series.n, x);
  return xs[Math.min(series.n - 1, Math.max(0, start + by))];
}

/**
 * Return the ranks that lines name; the same array as before when they have not changed.
 * @param {NamedRank[]} before
 * @param {readonly Line[]} lines
 * @returns {NamedRank[]}
 */
export function namedRanks(before, lines) {
  const named = lines.flatMap(({ remark, series: { rank }, color }) => (remark ? [{ rank, remark, color }] : []));
  const text = (/** @type {NamedRank[]} */ ranks) => JSON.stringify(ranks);
  return text(named) === text(before) ? before : named;
}
