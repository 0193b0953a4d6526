// @ts-check
/** Lines of compared runs, divided by that of a reference at the same place of the horizontal axis. Pure. */
import { axisColumn, lowerBound } from '../data/series.js';

/** The name of a series of ratios, which has no unit. */
const RATIO = 'ratio';

/**
 * Return the value of a line at an x value between its first and its last point, or NaN.
 * @param {ArrayLike<number>} xs
 * @param {ArrayLike<number>} ys
 * @param {number} n
 * @param {number} x
 */
function interpolate(xs, ys, n, x) {
  const i = lowerBound(xs, n, x);
  if (i === n || (i === 0 && xs[0] !== x)) return Number.NaN;
  if (xs[i] === x) return ys[i];
  const share = (x - xs[i - 1]) / (xs[i] - xs[i - 1]);
  return ys[i - 1] + share * (ys[i] - ys[i - 1]);
}

/**
 * Return the ratio of a series to a reference. There is none where the reference has no value, or is 0.
 * @param {Series} series
 * @param {Series} reference
 * @param {Axis} axis
 * @returns {Series}
 */
function ratioSeries(series, reference, axis) {
  const xs = axisColumn(series, axis);
  const referenceXs = axisColumn(reference, axis);
  const ratios = Float64Array.from(xs, (x, i) => {
    const ratio = series.mean[i] / interpolate(referenceXs, reference.mean, reference.n, x);
    return Number.isFinite(ratio) ? ratio : Number.NaN;
  });
  const values = { min: ratios, max: ratios, mean: ratios, last: ratios, count: new Float64Array(series.n).fill(1) };
  return { ...series, ...values, key: RATIO };
}

/**
 * Divide lines by the reference, which comes last; superseded points are left out. Runs of different days have no time
 * in common: on the time axis, too, they are compared step by step.
 * @param {readonly Line[]} lines
 * @param {readonly Line[]} reference the lines of its run
 * @param {Axis} axis
 * @returns {Line[]} none without data of the reference
 */
export function ratioLines(lines, reference, axis) {
  const base = reference.find((line) => !line.superseded);
  if (!base) return [];
  const current = lines.filter((line) => !line.superseded);
  const isBase = (/** @type {Line} */ line) => line.series === base.series;
  return [...current.filter((line) => !isBase(line)), ...current.filter(isBase)].map((line) => ({
    ...line,
    band: false,
    series: ratioSeries(line.series, base.series, axis === 'time' ? 'step' : axis),
  }));
}
