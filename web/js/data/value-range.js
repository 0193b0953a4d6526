// @ts-check
/** The ranges of values of series: for vertical axes and descriptions. Pure. */
import { lowerBound } from './series.js';

/**
 * Return the lowest and the highest finite value of the buckets in a range of steps.
 * @param {SeriesList} list
 * @param {number} from first step
 * @param {number} to last step
 * @param {boolean} positive whether to ignore values of 0 and below
 * @returns {[number, number] | null}
 */
export function valueRange(list, from, to, positive) {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const { n, x, min, max } of list) {
    for (let i = Math.max(0, lowerBound(x, n, from) - 1); i < n && x[i] <= to; i++) {
      if (min[i] < low && (!positive || min[i] > 0)) low = min[i];
      if (max[i] > high && (!positive || max[i] > 0)) high = max[i];
      if (positive && max[i] > 0 && max[i] < low) low = max[i];
    }
  }
  return low <= high ? [low, high] : null;
}

const OUTLIERS = 0.01;

/**
 * Return the range of values without outliers: where all but one bucket in a hundred lie at each end, widened by half
 * of its height, but never wider than all values.
 * @param {SeriesList} list
 * @param {number} from first step
 * @param {number} to last step
 * @param {boolean} positive whether to ignore values of 0 and below
 * @returns {[number, number] | null}
 */
export function robustRange(list, from, to, positive) {
  const range = valueRange(list, from, to, positive);
  const lows = [];
  const highs = [];
  for (const { n, x, min, max } of list) {
    for (let i = Math.max(0, lowerBound(x, n, from) - 1); i < n && x[i] <= to; i++) {
      if (min[i] > 0 || (!positive && !Number.isNaN(min[i]))) lows.push(min[i]);
      if (max[i] > 0 || (!positive && !Number.isNaN(max[i]))) highs.push(max[i]);
    }
  }
  if (!range || lows.length === 0) return range;
  const low = quantile(lows, OUTLIERS);
  const high = quantile(highs, 1 - OUTLIERS);
  const margin = positive ? 0 : (high - low) / 2;
  return high > low ? [Math.max(range[0], low - margin), Math.min(range[1], high + margin)] : range;
}

/**
 * @param {number[]} values
 * @param {number} share
 */
function quantile(values, share) {
  const sorted = Float64Array.from(values).sort();
  const last = sorted.length - 1;
  return sorted[share < 0.5 ? Math.min(last, Math.ceil(share * last)) : Math.max(0, Math.floor(share * last))];
}
