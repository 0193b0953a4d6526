// @ts-check
/** Turns what is held of a chart into what is drawn: lines, marks and a sentence. Pure. */
import { measure, plural } from './format.js';
import { current, lastValue, supersededPoints, total, valueRange } from './series.js';

const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const GHOST_DASH = [4, 3];

/** The look of the line number `i`: colours first, then dashes, so that no two are alike for long. @param {Colors} colors @param {number} i */
export function look(colors, i) {
  const n = colors.series.length;
  return { color: colors.series[i % n], wash: colors.wash[i % n], dash: DASHES[Math.floor(i / 4) % DASHES.length] };
}

/**
 * One line a rank; what was superseded is a faint, dashed ghost behind it.
 * @param {SeriesList} list @param {Colors} colors @param {string | null} label of the run, null to name the rank
 * @param {number} first number of the first line's look @returns {Line[]}
 */
export function rankLines(list, colors, label = null, first = 0) {
  const ranks = [...new Set(list.map((s) => s.rank))].sort((a, b) => a - b);
  const lines = list.map((series) => {
    const line = { series, label: label ?? `rank ${series.rank}`, ghost: series.superseded, ...look(colors, first + ranks.indexOf(series.rank)) };
    return series.superseded ? { ...line, dash: GHOST_DASH } : line;
  });
  return lines.sort((a, b) => Number(b.ghost) - Number(a.ghost));
}

/** Admitted upwards, evicted downwards, ranks added up. @param {SeriesList} up @param {SeriesList} down @param {Colors} colors @returns {Line[]} */
export function barLines(up, down, colors) {
  const pair = [{ series: total(up), label: 'admitted', ...look(colors, 1) }, { series: total(down), label: 'evicted', ...look(colors, 2) }];
  return pair.flatMap(({ series, ...rest }) => (series ? [{ ...rest, series, ghost: false }] : []));
}

/**
 * Events that have a place on the x axis. Steps are used on a step axis, times on a time axis.
 * @param {readonly RunEvent[]} events @param {Axis} axis @param {Colors} colors
 * @param {(time: any) => number} seconds @returns {Mark[]}
 */
export function marksOf(events, axis, colors, seconds) {
  const marks = [];
  for (const event of events) {
    const x = axis === 'step' ? event.step : seconds(event.time);
    if (x === null || x === undefined || Number.isNaN(x)) continue;
    const label = event.text.length > 32 ? `${event.text.slice(0, 31)}…` : event.text;
    const color = event.level === 'error' ? colors.bad : event.level === 'warning' ? colors.warn : colors.mark;
    marks.push({ x, label, color, dash: event.kind !== 'control' });
  }
  return marks.sort((a, b) => a.x - b.x);
}

/** What a chart shows, for those who cannot see it. @param {string} title @param {SeriesList} list @param {[number, number] | null} range */
export function summary(title, list, range) {
  const last = lastValue(list);
  if (last === null) return `${title}: no data yet`;
  const found = valueRange(current(list), range?.[0] ?? -Infinity, range?.[1] ?? Infinity, false);
  const s = list[list.length - 1];
  const early = s.mean[Math.floor(s.n / 2)];
  const change = (s.mean[s.n - 1] - early) / (found && found[1] > found[0] ? found[1] - found[0] : 1);
  const trend = change > 0.1 ? 'rising' : change < -0.1 ? 'falling' : 'steady';
  const ends = found ? `, lowest ${measure(title, found[0])}, highest ${measure(title, found[1])}` : '';
  const lost = supersededPoints(list);
  const ghosts = lost ? `, ${plural(lost, 'superseded point')} behind it` : '';
  return `${title}: last ${measure(title, last)} at step ${s.x[s.n - 1]}${ends}, ${trend}${ghosts}`;
}
