// @ts-check
/** Builds what a chart shows from the data that the page holds: lines and event marks. Pure. */
import { sumSeries } from '../data/series.js';

const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const LINES_PER_DASH = 4;
const SUPERSEDED_DASH = [4, 3];
const MAX_LABEL_CHARACTERS = 32;

/** @type {Picture} */
export const EMPTY_PICTURE = {
  kind: 'line',
  lines: [],
  x: null,
  log: false,
  smooth: 0,
  axis: 'step',
  events: [],
  passes: [],
};

/**
 * Return the style of a line by its number, varying colors and dashes so that few lines look alike.
 * @param {Colors} colors
 * @param {number} number
 * @returns {LineStyle}
 */
export function lineStyle(colors, number) {
  const count = colors.series.length;
  return {
    color: colors.series[number % count],
    tint: colors.tint[number % count],
    dash: DASHES[Math.floor(number / LINES_PER_DASH) % DASHES.length],
  };
}

/**
 * Build one line per rank, with superseded points as dashed lines behind the others.
 * @param {SeriesList} list
 * @param {Colors} colors
 * @param {string | null} label of all lines; null for "rank N"
 * @param {number} first style number of the first rank
 * @returns {Line[]}
 */
export function rankLines(list, colors, label = null, first = 0) {
  const ranks = [...new Set(list.map((series) => series.rank))].sort((a, b) => a - b);
  const lines = list.map((series) => {
    const style = lineStyle(colors, first + ranks.indexOf(series.rank));
    const line = { series, label: label ?? `rank ${series.rank}`, superseded: series.superseded, ...style };
    return series.superseded ? { ...line, dash: SUPERSEDED_DASH } : line;
  });
  return lines.sort((a, b) => Number(b.superseded) - Number(a.superseded));
}

/**
 * Build the bars of admitted and evicted rows, summed over ranks.
 * @param {SeriesList} admitted
 * @param {SeriesList} evicted
 * @param {Colors} colors
 * @returns {Line[]}
 */
export function flowBars(admitted, evicted, colors) {
  const bars = [
    { series: sumSeries(admitted), label: 'admitted', ...lineStyle(colors, 1) },
    { series: sumSeries(evicted), label: 'evicted', ...lineStyle(colors, 2) },
  ];
  return bars.flatMap(({ series, ...rest }) => (series ? [{ ...rest, series, superseded: false }] : []));
}

/**
 * Build the marks of events at their step or time, leaving out events without one.
 * @param {readonly RunEvent[]} events
 * @param {Axis} axis
 * @param {Colors} colors
 * @returns {EventMark[]}
 */
export function eventMarks(events, axis, colors) {
  const marks = [];
  for (const event of events) {
    const x = axis === 'step' ? event.step : event.time;
    if (x === null || x === undefined) continue;
    const color = event.level === 'error' ? colors.bad : event.level === 'warning' ? colors.warn : colors.mark;
    marks.push({ x, label: shorten(event.text), color, dash: event.kind !== 'control' });
  }
  return marks.sort((a, b) => a.x - b.x);
}

/** @param {string} text */
function shorten(text) {
  return text.length > MAX_LABEL_CHARACTERS ? `${text.slice(0, MAX_LABEL_CHARACTERS - 1)}…` : text;
}
