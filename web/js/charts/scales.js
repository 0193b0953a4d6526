// @ts-check
/** The ranges of a chart's axes. Pure. */
import { bucketSum, lowerBound } from '../data/series.js';
import { robustRange, valueRange } from '../data/value-range.js';

/**
 * Return the range of the x axis.
 * @param {Picture} picture
 * @param {number | null} low first x value of the data
 * @param {number | null} high last x value of the data
 * @returns {[number, number]}
 */
export function xRange({ x }, low, high) {
  const [from, to] = x ?? [low ?? 0, high ?? 1];
  return to > from ? [from, to] : [from - 0.5, from + 0.5];
}

/**
 * Return the first and last step in view, whatever the x axis shows.
 * @param {Picture} picture
 * @returns {[number, number]}
 */
export function stepsInView({ axis, x, lines }) {
  if (axis === 'step' && x) return x;
  const all = lines.map((line) => line.series).filter((series) => series.n > 0);
  if (all.length === 0) return [0, 1];
  return [Math.min(...all.map((series) => series.x[0])), Math.max(...all.map((series) => series.x[series.n - 1]))];
}

/**
 * Return the range of the y axis: that of the zoom, else the extremes in view, with a margin.
 * @param {Picture} picture
 * @returns {[number, number]}
 */
export function yRange(picture) {
  const { kind, lines, log, y } = picture;
  if (y && (!log || y[0] > 0)) return y;
  const [from, to] = stepsInView(picture);
  if (kind === 'bars') return barRange(lines, from, to);
  // Superseded points must not squeeze current ones: an attempt is often abandoned because its values exploded.
  const current = outlines(picture).map((line) => line.series);
  const range = picture.robust ? robustRange(current, from, to, log) : valueRange(current, from, to, log);
  if (!range) return log ? [0.1, 10] : [0, 1];
  const [low, high] = range;
  if (log) return low === high ? [low / 2, high * 2] : [low / 1.15, high * 1.15];
  const margin = low === high ? Math.abs(low) * 0.1 || 1 : (high - low) * 0.06;
  return [low >= 0 && low - margin < 0 ? 0 : low - margin, high + margin];
}

/**
 * Return the lines that the vertical axis must show: the current ones, of a stack only the edge of its highest layer.
 * @param {Picture} picture
 */
const outlines = ({ kind, lines }) => (kind === 'stack' ? lines.slice(-1) : lines.filter((line) => !line.superseded));

/**
 * Return the range for bars that go up (first line) and down (second line) from zero.
 * @param {readonly Line[]} lines
 * @param {number} from first step
 * @param {number} to last step
 * @returns {[number, number]}
 */
function barRange(lines, from, to) {
  const [up = 0, down = 0] = lines.map(({ series }) => {
    let highest = 0;
    for (let i = lowerBound(series.x, series.n, from); i < series.n && series.x[i] <= to; i++) {
      highest = Math.max(highest, bucketSum(series, i));
    }
    return highest;
  });
  if (up + down <= 0) return [-1, 1];
  return [-Math.max(down, up * 0.15) * 1.1, Math.max(up, down * 0.15) * 1.1];
}

/**
 * Count the buckets in view with values beyond the vertical axis, which only a robust or a zoomed one has.
 * @param {Picture} picture
 */
export function outsideCounts(picture) {
  let above = 0;
  let below = 0;
  if (!picture.robust && !picture.y) return { above, below };
  const [low, high] = yRange(picture);
  const [from, to] = stepsInView(picture);
  for (const { series } of outlines(picture)) {
    for (let i = lowerBound(series.x, series.n, from); i < series.n && series.x[i] <= to; i++) {
      if (series.max[i] > high) above += 1;
      if (series.min[i] < low) below += 1;
    }
  }
  return { above, below };
}
