// @ts-check
/** Looks up the values of a picture under the crosshair. Pure. */
import { axisColumn, nearestIndex } from '../data/series.js';

/**
 * Return the values of all current lines at an x value, highest first.
 * @param {Picture} picture
 * @param {number} x
 * @returns {Reading[]}
 */
export function readLines({ axis, lines }, x) {
  /** @type {Reading[]} */
  const readings = [];
  for (const { series, label, color, superseded } of lines) {
    const i = superseded ? -1 : nearestIndex(axisColumn(series, axis), series.n, x);
    if (i < 0) continue;
    const count = series.count[i];
    const value = count === 1 ? series.last[i] : series.mean[i];
    readings.push({ label, color, x: series.x[i], value, min: series.min[i], max: series.max[i], count });
  }
  return readings.sort((a, b) => b.value - a.value);
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
