// @ts-check
/**
 * A line without axes, for lists: as shapes of the document, because a page with a canvas per row has to compose all of
 * them for every frame in which it scrolls. Pure.
 */

export const SPARKLINE_WIDTH = 112;
export const SPARKLINE_HEIGHT = 24;
export const SPARKLINE_MARGIN = 2;

/**
 * Return the smallest and the largest value of a series.
 * @param {Series} series
 */
function extremes({ n, min, max }) {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < n; i++) {
    if (min[i] < low) low = min[i];
    if (max[i] > high) high = max[i];
  }
  return { low, high };
}

/**
 * Return the mean of a series as a line, and its extremes as vertical bars, as the data of two paths; both are empty
 * when there is nothing to draw. What is not finite is a gap.
 * @param {Series | undefined} series
 */
export function sparklinePaths(series) {
  if (!series || series.n < 2) return { line: '', band: '' };
  const { n, x, min, max, mean } = series;
  const { low, high } = extremes(series);
  const across = (SPARKLINE_WIDTH - 2 * SPARKLINE_MARGIN) / (x[n - 1] - x[0] || 1);
  const scale = high > low ? (SPARKLINE_HEIGHT - 2 * SPARKLINE_MARGIN) / (high - low) : 0;
  const px = (/** @type {number} */ value) => (SPARKLINE_MARGIN + (value - x[0]) * across).toFixed(1);
  const py = (/** @type {number} */ value) =>
    (scale ? SPARKLINE_HEIGHT - SPARKLINE_MARGIN - (value - low) * scale : SPARKLINE_HEIGHT / 2).toFixed(1);
  let line = '';
  let band = '';
  let joined = false;
  for (let i = 0; i < n; i++) {
    if (Number.isFinite(mean[i])) line += `${joined ? 'L' : 'M'}${px(x[i])} ${py(mean[i])}`;
    joined = Number.isFinite(mean[i]);
    if (max[i] > min[i]) band += `M${px(x[i])} ${py(min[i])}V${py(max[i])}`;
  }
  return { line, band };
}
