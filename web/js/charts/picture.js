// @ts-check
/** Builds what a chart shows from the data that the page holds: lines and event marks. Pure. */
import { commonGaps, gapIndices } from '../data/gaps.js';
import { ALL_RANKS, axisOrigin, nearestIndex, sumSeries } from '../data/series.js';
import { NO_UNIT, unitOf } from '../format/units.js';

const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const HALF_OF_COLORS = 4;
const SUPERSEDED_DASH = [4, 3];
const MAX_LABEL_CHARACTERS = 32;

/** @type {Picture} */
export const EMPTY_PICTURE = {
  kind: 'line',
  lines: [],
  x: null,
  y: null,
  log: false,
  smooth: 0,
  axis: 'step',
  robust: false,
  unit: NO_UNIT,
  events: [],
  pauses: [],
  passes: [],
};

/**
 * Return the style of a line by its number. The first 32 differ: each round of colors has other dashes, and so has the
 * second half of each round, for those who cannot tell its colors from those of the first.
 * @param {Colors} colors
 * @param {number} number
 * @returns {LineStyle}
 */
export function lineStyle(colors, number) {
  const count = colors.series.length;
  return {
    color: colors.series[number % count],
    tint: colors.tint[number % count],
    dash: DASHES[(Math.floor(number / count) + Math.floor((number % count) / HALF_OF_COLORS)) % DASHES.length],
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
 * Return what is remarkable about a rank that lies apart, from the unit and the name of the metric: more time or less
 * speed is slow.
 * @param {string} key
 * @param {boolean} isHigher
 */
function remark(key, isHigher) {
  const isTime = unitOf(key).symbol === 's';
  const isRate = /(qps|throughput|_per_s(ec|econd)?)$/i.test(key) && unitOf(key).symbol === '';
  if (isTime || isRate) return isHigher === isTime ? 'slowest' : 'fastest';
  return isHigher ? 'highest' : 'lowest';
}

/** The second of two distances from the median must be this many times the first for its rank to be the odd one. */
const ODD_FACTOR = 3;

/**
 * Build the lines of a summary of ranks: the median with its band, and the ranks that lie apart, which are named.
 * @param {SeriesList} list
 * @param {Colors} colors
 * @param {number} count of ranks
 * @returns {Line[]}
 */
export function summaryLines(list, colors, count) {
  const median = list.find((series) => series.rank === ALL_RANKS);
  if (!median) return rankLines(list, colors);
  const label = `median of ${count} ranks`;
  const apart = list
    .filter((series) => series.rank !== ALL_RANKS)
    .map((series) => ({ series, distance: meanDistance(series, median) }))
    .filter(({ distance }) => distance !== 0)
    .sort((a, b) => b.distance - a.distance);
  const [high = 0, low = 0] = apart.map(({ distance }) => Math.abs(distance));
  const lines = apart.map(({ series, distance }, i) => {
    const [own, other] = i === 0 ? [high, low] : [low, high];
    const isOdd = apart.length > 1 && own > ODD_FACTOR * other;
    const text = remark(series.key, distance > 0);
    return {
      ...{ series, label: `rank ${series.rank}`, superseded: false, ...lineStyle(colors, i + 1) },
      remark: isOdd && text !== 'slowest' ? 'odd' : text,
    };
  });
  return [{ series: median, label, superseded: false, band: true, ...lineStyle(colors, 0) }, ...lines];
}

/**
 * Return the mean distance of a series from another one over their common buckets.
 * @param {Series} series
 * @param {Series} from
 */
function meanDistance(series, from) {
  let sum = 0;
  let count = 0;
  for (let i = 0; i < series.n; i++) {
    const at = nearestIndex(from.x, from.n, series.x[i]);
    const distance = at < 0 ? Number.NaN : series.mean[i] - from.mean[at];
    if (Number.isNaN(distance)) continue;
    sum += distance;
    count += 1;
  }
  return count ? sum / count : 0;
}

/**
 * Interrupt lines where nothing was reported for long. Steps have no such gaps: a metric may be reported at any of
 * them.
 * @param {Line[]} lines
 * @param {Axis} axis
 * @returns {{lines: Line[], pauses: TimeSpan[]}} the lines, and when none of the current ones has data
 */
export function withGaps(lines, axis) {
  if (axis === 'step') return { lines, pauses: [] };
  const interrupted = lines.map((line) => ({ ...line, gaps: gapIndices(line.series) }));
  const current = interrupted.filter((line) => !line.superseded);
  const origins = new Set(current.map(({ series }) => axisOrigin(series, axis)));
  // Runs that started at different times do not pause together.
  if (origins.size !== 1) return { lines: interrupted, pauses: [] };
  const [origin] = origins;
  return { lines: interrupted, pauses: commonGaps(current).map(([from, to]) => [from - origin, to - origin]) };
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
 * @param {number} origin when the run was created, in seconds since the epoch
 * @returns {EventMark[]}
 */
export function eventMarks(events, axis, colors, origin = 0) {
  const marks = [];
  for (const event of events) {
    const x = axis === 'step' ? event.step : event.time - axisOrigin({ origin }, axis);
    if (x === null || x === undefined) continue;
    const color = event.level === 'error' ? colors.bad : event.level === 'warning' ? colors.warn : colors.mark;
    const isControl = event.kind === 'control';
    const command = isControl ? event.data?.command : undefined;
    const minor = event.kind === 'checkpoint';
    marks.push({ x, label: shorten(event.text), text: event.text, color, dash: !isControl, command, minor });
  }
  return marks.sort((a, b) => a.x - b.x);
}

/** @param {string} text */
function shorten(text) {
  return text.length > MAX_LABEL_CHARACTERS ? `${text.slice(0, MAX_LABEL_CHARACTERS - 1)}…` : text;
}

const REASONS = ['disconnected', 'attempt'];

/**
 * Return why there may be no data for a while, from the events of that time: a lost connection, a new start, a warning.
 * @param {TimeSpan} pause
 * @param {readonly RunEvent[]} events
 * @returns {string} empty when no event tells
 */
export function pauseReason([from, to], events) {
  const meanwhile = events.filter((event) => event.time >= from && event.time <= to);
  const known = REASONS.map((kind) => meanwhile.find((event) => event.kind === kind)).find(Boolean);
  return (known ?? meanwhile.find((event) => event.level !== 'info'))?.text ?? '';
}
