// @ts-check
/** Draws marks on a plot: events, filter passes and non-finite values. */
import { fill } from './shapes.js';

/**
 * Mark buckets with NaN or infinite values by triangles along the upper edge.
 * @param {PlotArea} area
 * @param {Series} series
 * @param {Float64Array} xs
 * @param {string} color
 */
export function drawNonFinite({ context, box, px, ratio }, { n, nan }, xs, color) {
  const path = new Path2D();
  const size = 4 * ratio;
  let last = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < n; i++) {
    if (!nan[i]) continue;
    const x = px(xs[i]);
    if (x - last < size || x < box.left || x > box.left + box.width) continue;
    last = x;
    path.moveTo(x - size, box.top);
    path.lineTo(x + size, box.top);
    path.lineTo(x, box.top + size * 1.6);
    path.closePath();
  }
  fill(context, path, color);
}

/**
 * Mark the steps of filter passes by ticks on the lower edge.
 * @param {PlotArea} area
 * @param {readonly number[]} steps
 * @param {string} color
 */
export function drawPasses({ context, box, px, ratio }, steps, color) {
  const path = new Path2D();
  let last = -1;
  for (const step of steps) {
    const x = Math.round(px(step));
    if (x === last || x < box.left || x > box.left + box.width) continue;
    last = x;
    path.rect(x, box.top + box.height - 5 * ratio, Math.max(1, Math.round(ratio)), 5 * ratio);
  }
  fill(context, path, color);
}

/**
 * Mark events by vertical lines with a label above the plot. A label that would overlap the one before is left out.
 * @param {PlotArea} area
 * @param {readonly EventMark[]} events in order of x
 */
export function drawEvents({ context, box, px, ratio }, events) {
  context.save(); // uPlot caches the styles that it has set and would not set them again
  context.font = `${10 * ratio}px system-ui, sans-serif`;
  context.textBaseline = 'alphabetic';
  context.textAlign = 'left';
  let free = Number.NEGATIVE_INFINITY;
  for (const { x: value, color, dash, label } of events) {
    const x = Math.round(px(value)) + 0.5;
    if (x < box.left - 1 || x > box.left + box.width + 1) continue;
    context.strokeStyle = color;
    context.lineWidth = Math.max(1, Math.round(ratio));
    context.setLineDash(dash ? [3 * ratio, 3 * ratio] : []);
    context.beginPath();
    context.moveTo(x, box.top);
    context.lineTo(x, box.top + box.height);
    context.stroke();
    const width = context.measureText(label).width + 8 * ratio;
    const left = Math.max(box.left, Math.min(x - 2 * ratio, box.left + box.width - width));
    if (left < free) continue;
    free = left + width;
    context.fillStyle = color;
    context.fillText(label, left, box.top - 3 * ratio);
  }
  context.restore();
}
