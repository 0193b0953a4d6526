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

const MIN_TICK_DISTANCE_PX = 6;
const CHECKPOINT_PX = 4;

/**
 * Mark the steps of filter passes by ticks on the lower edge. Passes closer than a few pixels share a tick.
 * @param {PlotArea} area
 * @param {readonly number[]} steps
 * @param {string} color
 */
export function drawPasses({ context, box, px, ratio }, steps, color) {
  const path = new Path2D();
  let last = Number.NEGATIVE_INFINITY;
  for (const step of steps) {
    const x = Math.round(px(step));
    if (x - last < MIN_TICK_DISTANCE_PX * ratio || x < box.left || x > box.left + box.width) continue;
    last = x;
    path.rect(x, box.top + box.height - 5 * ratio, Math.max(1, Math.round(ratio)), 5 * ratio);
  }
  fill(context, path, color);
}

/**
 * Mark checkpoints by triangles on the lower edge. Those closer than a few pixels share one.
 * @param {PlotArea} area
 * @param {readonly EventMark[]} events in order of x
 */
export function drawCheckpoints({ context, box, px, ratio }, events) {
  if (events.length === 0) return;
  const path = new Path2D();
  const size = CHECKPOINT_PX * ratio;
  const bottom = box.top + box.height;
  let last = Number.NEGATIVE_INFINITY;
  for (const { x: value } of events) {
    const x = px(value);
    if (x - last < MIN_TICK_DISTANCE_PX * ratio || x < box.left || x > box.left + box.width) continue;
    last = x;
    path.moveTo(x - size, bottom);
    path.lineTo(x + size, bottom);
    path.lineTo(x, bottom - size * 1.6);
    path.closePath();
  }
  fill(context, path, events[0].color);
}

/**
 * Shade the times without any data.
 * @param {PlotArea} area
 * @param {readonly TimeSpan[]} pauses
 * @param {string} color
 */
export function drawPauses({ context, box, px }, pauses, color) {
  if (pauses.length === 0) return;
  const path = new Path2D();
  for (const [from, to] of pauses) {
    const left = Math.max(box.left, Math.round(px(from)));
    const right = Math.min(box.left + box.width, Math.round(px(to)));
    if (right > left) path.rect(left, box.top, right - left, box.height);
  }
  context.save();
  context.globalAlpha = 0.1;
  fill(context, path, color);
  context.restore();
}

/**
 * Mark events by vertical lines with a label above the plot. Labels that would overlap become one, with their number.
 * @param {PlotArea} area
 * @param {readonly EventMark[]} events in order of x
 */
export function drawEvents({ context, box, px, ratio }, events) {
  // uPlot caches the styles that it has set and would not set them again.
  context.save();
  context.font = `${10 * ratio}px system-ui, sans-serif`;
  context.textBaseline = 'alphabetic';
  context.textAlign = 'left';
  context.lineWidth = Math.max(1, Math.round(ratio));
  /** @type {{label: string, left: number, right: number, color: string, more: number}[]} */
  const labels = [];
  for (const { x: value, color, dash, label } of events) {
    const x = Math.round(px(value)) + 0.5;
    if (x < box.left - 1 || x > box.left + box.width + 1) continue;
    context.strokeStyle = color;
    context.setLineDash(dash ? [3 * ratio, 3 * ratio] : []);
    context.beginPath();
    context.moveTo(x, box.top);
    context.lineTo(x, box.top + box.height);
    context.stroke();
    const last = labels.at(-1);
    const width = context.measureText(`${label} +99`).width + 8 * ratio;
    const left = Math.max(box.left, Math.min(x - 2 * ratio, box.left + box.width - width));
    if (last && left < last.right) last.more += 1;
    else labels.push({ label, left, right: left + width, color, more: 0 });
  }
  for (const { label, left, color, more } of labels) {
    context.fillStyle = color;
    context.fillText(more ? `${label} +${more}` : label, left, box.top - 3 * ratio);
  }
  context.restore();
}
