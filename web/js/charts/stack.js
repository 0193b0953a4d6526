// @ts-check
/** Builds stacked areas: each layer lies on those before it. Pure. */
import { bucketSum, currentSeries } from '../data/series.js';
import { lineStyle } from './picture.js';

/**
 * Build the layers of a stack from the series of its keys, on the rank of `rankSeries`. A layer's height is its sum in
 * a bucket per step of the bucket, so that the layers add up where some are reported at few steps only.
 * @param {readonly SeriesList[]} lists
 * @param {Colors} colors
 * @param {(key: string) => string} label
 * @returns {Line[]}
 */
export function stackLines(lists, colors, label) {
  const layers = lists.map(rankSeries);
  const { x, time, steps } = commonBuckets(layers.flatMap((series) => series ?? []));
  let below = new Float64Array(x.length);
  return layers.flatMap((own, number) => {
    if (!own) return [];
    const share = new Float64Array(x.length);
    for (let i = 0, at = 0; i < own.n; i++) {
      while (x[at] < own.x[i]) at += 1;
      share[at] = bucketSum(own, i) / steps[at];
    }
    const above = below.map((value, i) => value + share[i]);
    below = above;
    const columns = { x, time, min: new Float64Array(x.length), max: above, mean: above, last: share };
    const series = {
      ...own,
      ...columns,
      n: x.length,
      count: new Float64Array(x.length).fill(1),
      nan: new Float64Array(x.length),
    };
    return [{ series, label: label(own.key), superseded: false, ...lineStyle(colors, number), dash: [] }];
  });
}

/**
 * Return the series that a stack shows: the summary of all ranks where there is one, else that of the lowest rank.
 * @param {SeriesList} list
 * @returns {Series | undefined}
 */
export function rankSeries(list) {
  return currentSeries(list)
    .filter((series) => series.n > 0)
    .sort((a, b) => a.rank - b.rank)[0];
}

/**
 * Return all buckets of some series, with the highest number of values that one of them has there.
 * @param {readonly Series[]} list
 */
function commonBuckets(list) {
  /** @type {Map<number, {time: number, steps: number}>} */
  const buckets = new Map();
  for (const series of list) {
    for (let i = 0; i < series.n; i++) {
      const known = buckets.get(series.x[i]);
      const steps = Math.max(1, known?.steps ?? 0, series.count[i]);
      buckets.set(series.x[i], { time: known?.time ?? series.time[i], steps });
    }
  }
  const rows = [...buckets].sort((a, b) => a[0] - b[0]);
  return {
    x: Float64Array.from(rows, ([x]) => x),
    time: Float64Array.from(rows, ([, { time }]) => time),
    steps: Float64Array.from(rows, ([, bucket]) => bucket.steps),
  };
}
