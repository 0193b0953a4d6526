// @ts-check
/** Stretches of time without data: where a series is interrupted, and when all series of a chart are. Pure. */

/** Points are apart when the time between them is this many times the usual one. */
const UNUSUAL = 5;
const MIN_GAP_S = 2;

/**
 * Return the indices of buckets before which nothing was reported for an unusually long time.
 * @param {Pick<Series, 'time' | 'n'>} series
 * @returns {number[]}
 */
export function gapIndices({ time, n }) {
  if (n < 3) return [];
  const waits = new Float64Array(n - 1);
  for (let i = 1; i < n; i++) waits[i - 1] = time[i] - time[i - 1];
  const usual = waits.slice().sort()[(n - 1) >> 1];
  const longest = Math.max(MIN_GAP_S, UNUSUAL * usual);
  const gaps = [];
  for (let i = 1; i < n; i++) if (waits[i - 1] > longest) gaps.push(i);
  return gaps;
}

/**
 * Return what two lists of spans have in common.
 * @param {readonly TimeSpan[]} some
 * @param {readonly TimeSpan[]} others
 * @returns {TimeSpan[]}
 */
function intersect(some, others) {
  /** @type {TimeSpan[]} */
  const common = [];
  for (const [from, to] of some) {
    for (const [start, end] of others) {
      if (Math.max(from, start) < Math.min(to, end)) common.push([Math.max(from, start), Math.min(to, end)]);
    }
  }
  return common;
}

/**
 * Return when none of some series has data: not between its points, not before its first and after its last one.
 * @param {readonly {series: Series, gaps?: readonly number[]}[]} lines
 * @returns {TimeSpan[]}
 */
export function commonGaps(lines) {
  const withData = lines.filter(({ series }) => series.n > 0);
  if (withData.length === 0) return [];
  const first = Math.min(...withData.map(({ series }) => series.time[0]));
  const last = Math.max(...withData.map(({ series }) => series.time[series.n - 1]));
  return withData
    .map(({ series: { time, n }, gaps = [] }) => {
      /** @type {TimeSpan[]} */
      const spans = gaps.map((i) => [time[i - 1], time[i]]);
      return [/** @type {TimeSpan} */ ([first, time[0]]), ...spans, /** @type {TimeSpan} */ ([time[n - 1], last])];
    })
    .reduce(intersect)
    .filter(([from, to]) => to > from);
}

/**
 * Return whether a time lies in the gap before one of some buckets.
 * @param {Pick<Series, 'time'>} series
 * @param {readonly number[]} gaps
 * @param {number} time
 */
export const isInGap = (series, gaps, time) => gaps.some((i) => time > series.time[i - 1] && time < series.time[i]);
