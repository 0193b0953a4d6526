// @ts-check
/** Describes a chart in words, for screen readers. Pure. */
import { currentSeries, lastValue, supersededCount } from '../data/series.js';
import { valueRange } from '../data/value-range.js';
import { pluralize } from '../format/numbers.js';
import { formatMetric } from '../format/units.js';

/**
 * @param {Series} series
 * @param {[number, number] | null} range of its values
 */
function trend(series, range) {
  const middle = series.mean[Math.floor(series.n / 2)];
  const span = range && range[1] > range[0] ? range[1] - range[0] : 1;
  const change = (series.mean[series.n - 1] - middle) / span;
  if (change > 0.1) return 'rising';
  return change < -0.1 ? 'falling' : 'steady';
}

/**
 * Return the accessible name of a chart.
 * @param {string} key
 * @param {SeriesList} list
 * @param {[number, number] | null} steps in view, null for all
 */
export function describeChart(key, list, steps) {
  const last = lastValue(list);
  if (last === null) return `${key}: no data yet`;
  const [from, to] = steps ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  const range = valueRange(currentSeries(list), from, to, false);
  const series = list[list.length - 1];
  const superseded = supersededCount(list);
  const parts = [
    `${key}: last ${formatMetric(key, last)} at step ${series.x[series.n - 1]}`,
    ...(range ? [`lowest ${formatMetric(key, range[0])}`, `highest ${formatMetric(key, range[1])}`] : []),
    trend(series, range),
    ...(superseded ? [pluralize(superseded, 'superseded point')] : []),
  ];
  return parts.join(', ');
}

/**
 * Return the accessible name of a chart of several sources: what each series does, in the first run that has it.
 * @param {readonly string[]} keys by source
 * @param {readonly SeriesList[]} lists by source
 * @param {[number, number] | null} steps in view, null for all
 */
export function describeCharts(keys, lists, steps) {
  const firstWithData = (/** @type {string} */ key) =>
    lists.find((list, i) => keys[i] === key && list.length > 0) ?? [];
  return [...new Set(keys)].map((key) => describeChart(key, firstWithData(key), steps)).join('; ');
}
