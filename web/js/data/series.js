// @ts-check
/** Chart data as columns of buckets: merging, aggregating and looking up. Pure. */

/** The columns of a series, in wire order. */
export const COLUMNS = /** @type {const} */ (['x', 'time', 'min', 'max', 'mean', 'last', 'count', 'nan']);

/** The rank of an envelope over ranks. */
export const ALL_RANKS = -1;

/**
 * Return the index of the first of `n` ascending values that is not below `value`.
 * @param {ArrayLike<number>} xs
 * @param {number} n
 * @param {number} value
 */
export function lowerBound(xs, n, value) {
  let low = 0;
  let high = n;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Return the index of the closest of `n` ascending values, or -1 when there is none.
 * @param {ArrayLike<number>} xs
 * @param {number} n
 * @param {number} value
 */
export function nearestIndex(xs, n, value) {
  if (n === 0) return -1;
  const i = lowerBound(xs, n, value);
  if (i === 0) return 0;
  if (i === n) return n - 1;
  return value - xs[i - 1] <= xs[i] - value ? i - 1 : i;
}

/**
 * @param {Series} series
 * @param {number} capacity
 */
function grow(series, capacity) {
  for (const name of COLUMNS) {
    const column = new Float64Array(capacity);
    column.set(series[name].subarray(0, series.n));
    series[name] = column;
  }
}

/**
 * Merge changed buckets into a series: replace those with the same `x`, insert the others in order.
 * @param {Series} series
 * @param {Series} delta
 */
export function mergeDelta(series, delta) {
  for (let i = 0; i < delta.n; i++) {
    const x = delta.x[i];
    const at = series.n > 0 && x > series.x[series.n - 1] ? series.n : lowerBound(series.x, series.n, x);
    if (at === series.n || series.x[at] !== x) {
      if (series.n === series.x.length) grow(series, Math.max(64, series.n * 2));
      for (const name of COLUMNS) series[name].copyWithin(at + 1, at, series.n);
      series.n += 1;
    }
    for (const name of COLUMNS) series[name][at] = delta[name][i];
  }
}

/**
 * Return the series of a list without those of superseded points.
 * @param {SeriesList} list
 */
export const currentSeries = (list) => list.filter((series) => !series.superseded);

/**
 * Add up one column of some series.
 * @param {SeriesList} list
 * @param {Column} column
 */
function sumColumn(list, column) {
  let sum = 0;
  for (const series of list) for (let i = 0; i < series.n; i++) sum += series[column][i];
  return sum;
}

/**
 * Count the superseded points.
 * @param {SeriesList} list
 */
export const supersededCount = (list) =>
  sumColumn(
    list.filter((series) => series.superseded),
    'count',
  );

/**
 * Count the current points that are NaN or infinite.
 * @param {SeriesList} list
 */
export const nonFiniteCount = (list) => sumColumn(currentSeries(list), 'nan');

/**
 * Return the newest value of the last series.
 * @param {SeriesList} list
 * @returns {number | null}
 */
export function lastValue(list) {
  const series = list.at(-1);
  return series && series.n > 0 ? series.last[series.n - 1] : null;
}

/**
 * Return the time that is 0 on an axis, in seconds since the epoch.
 * @param {Pick<Series, 'origin'>} series
 * @param {Axis} axis
 */
export const axisOrigin = ({ origin = 0 }, axis) => (axis === 'relative' ? origin : 0);

/**
 * Return what an axis shows of a series: its used steps or times.
 * @param {Series} series
 * @param {Axis} axis
 */
export function axisColumn(series, axis) {
  if (axis === 'step') return series.x.subarray(0, series.n);
  const times = series.time.subarray(0, series.n);
  const origin = axisOrigin(series, axis);
  return origin ? times.map((time) => time - origin) : times;
}

/**
 * Return the debiased exponential moving average, which starts at the first value and skips NaN.
 * @param {Float64Array} values
 * @param {number} n
 * @param {number} weight from 0 (off) to below 1
 * @returns {Float64Array}
 */
export function smooth(values, n, weight) {
  const out = new Float64Array(n);
  let sum = 0;
  let scale = 0;
  for (let i = 0; i < n; i++) {
    const value = values[i];
    if (Number.isNaN(value)) {
      out[i] = Number.NaN;
      continue;
    }
    sum = weight * sum + (1 - weight) * value;
    scale = weight * scale + (1 - weight);
    out[i] = sum / scale;
  }
  return out;
}

/**
 * Return what some series cover on an axis, or null when all are empty.
 * @param {Iterable<Series>} list
 * @param {Axis} axis
 * @returns {[number, number] | null} first and last step, or first and last second
 */
export function xExtent(list, axis) {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const { n, x, time, width, origin } of list) {
    if (n === 0) continue;
    const start = axisOrigin({ origin }, axis);
    low = Math.min(low, axis === 'step' ? x[0] : time[0] - start);
    high = Math.max(high, axis === 'step' ? x[n - 1] + width - 1 : time[n - 1] - start);
  }
  return low <= high ? [low, high] : null;
}

/**
 * Return the first and last step that some series have between two times, or null when they have none.
 * @param {Iterable<Series>} list
 * @param {Axis} axis
 * @param {number} from on that axis
 * @param {number} to
 * @returns {[number, number] | null}
 */
export function stepExtent(list, axis, from, to) {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const { n, x, time, width, origin } of list) {
    const start = axisOrigin({ origin }, axis);
    // A bucket has the time of its last point: the first one that ends after `from` may begin before it.
    const first = lowerBound(time, n, from + start);
    const last = Math.min(n - 1, lowerBound(time, n, to + start));
    if (first === n || time[first] > to + start) continue;
    low = Math.min(low, x[first]);
    high = Math.max(high, x[last] + width - 1);
  }
  return low <= high ? [low, high] : null;
}

/**
 * Return the sum of the finite values of a bucket.
 * @param {Series} series
 * @param {number} i
 */
export const bucketSum = (series, i) => series.mean[i] * (series.count[i] - series.nan[i]) || 0;

/**
 * Add up the current series of a list, bucket by bucket; each bucket counts as one value.
 * @param {SeriesList} list
 * @returns {Series | null}
 */
export function sumSeries(list) {
  const counted = currentSeries(list);
  if (counted.length === 0) return null;
  /** @type {Map<number, {time: number, sum: number}>} */
  const buckets = new Map();
  for (const series of counted) {
    for (let i = 0; i < series.n; i++) {
      const bucket = buckets.get(series.x[i]) ?? { time: series.time[i], sum: 0 };
      bucket.sum += bucketSum(series, i);
      buckets.set(series.x[i], bucket);
    }
  }
  const rows = [...buckets].sort((a, b) => a[0] - b[0]);
  const sum = Float64Array.from(rows, ([, bucket]) => bucket.sum);
  const [{ key, attempt, width, origin }] = counted;
  return {
    ...{ key, rank: ALL_RANKS, attempt, superseded: false, n: rows.length, width, origin },
    ...{ min: sum, max: sum, mean: sum, last: sum },
    x: Float64Array.from(rows, ([x]) => x),
    time: Float64Array.from(rows, ([, bucket]) => bucket.time),
    count: new Float64Array(rows.length).fill(1),
    nan: new Float64Array(rows.length),
  };
}
