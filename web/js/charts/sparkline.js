// @ts-check
/** A line without axes that fills its canvas, for lists. */
import { drawBand, drawLine } from './shapes.js';

const MARGIN_PX = 2;

/**
 * Draw a series onto a canvas, or clear it when there is nothing to draw.
 * @param {HTMLCanvasElement} canvas
 * @param {Series | undefined} series
 * @param {string} color
 * @param {number} ratio device pixels per CSS pixel
 */
export function drawSparkline(canvas, series, color, ratio) {
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d');
  if (!context) return;
  context.clearRect(0, 0, width, height);
  if (!series || series.n < 2) return;
  const area = sparklineArea(context, series, width, height, ratio);
  context.globalAlpha = 0.25;
  drawBand(area, series, (i) => [series.x[i], series.x[i] + series.width], color, color);
  context.globalAlpha = 1;
  drawLine(area, series.x, series.mean, series.n, { color, width: 1.25 });
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Series} series
 * @param {number} width
 * @param {number} height
 * @param {number} ratio
 * @returns {PlotArea}
 */
function sparklineArea(context, { n, x, min, max }, width, height, ratio) {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < n; i++) {
    if (min[i] < low) low = min[i];
    if (max[i] > high) high = max[i];
  }
  const margin = MARGIN_PX * ratio;
  const scale = high > low ? (height - 2 * margin) / (high - low) : 0;
  const across = (width - 2 * margin) / (x[n - 1] - x[0] || 1);
  return {
    context,
    ratio,
    box: { left: 0, top: 0, width, height },
    px: (value) => margin + (value - x[0]) * across,
    py: (value) => (scale ? height - margin - (value - low) * scale : height / 2),
  };
}
