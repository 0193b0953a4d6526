// @ts-check
/** Draws series on a canvas as bands, lines and bars. Knows a canvas context, a box and two mappings, nothing else. */

import { bucketSum } from '../data/series.js';

const FULL_CIRCLE = 2 * Math.PI;

/**
 * Draw with everything outside the box cut off, but for the end dot of a line.
 * @param {PlotArea} area
 * @param {() => void} draw
 */
export function clipped({ context, box, ratio }, draw) {
  context.save();
  context.beginPath();
  context.rect(box.left, box.top, box.width + 4 * ratio, box.height);
  context.clip();
  draw();
  context.restore();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Path2D} path
 * @param {string} color
 */
export function fill(context, path, color) {
  context.fillStyle = color;
  context.fill(path);
}

/**
 * Draw the span from minimum to maximum as one pixel-aligned rectangle per pixel column. A filled outline would fade
 * out a spike of one bucket; this shows it at full strength. Buckets that share a column are merged first.
 * @param {PlotArea} area
 * @param {Series} series
 * @param {(i: number) => [number, number]} span where a bucket begins and ends on the x axis
 * @param {string} color
 */
export function drawBand({ context, box, px, py, ratio }, { n, min, max }, span, color) {
  const path = new Path2D();
  const minWidth = Math.max(1, Math.round(ratio));
  let column = Number.NaN;
  let right = 0;
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  const addColumn = () => {
    if (high <= low) return;
    const top = Math.floor(py(high));
    path.rect(column, top, Math.max(minWidth, right - column), Math.max(1, Math.ceil(py(low)) - top));
  };
  for (let i = 0; i < n; i++) {
    const [start, end] = span(i);
    const from = Math.floor(px(start));
    const to = Math.floor(px(end));
    if (to < box.left || from > box.left + box.width || Number.isNaN(min[i])) continue;
    if (from !== column) {
      addColumn();
      column = from;
      low = Number.POSITIVE_INFINITY;
      high = Number.NEGATIVE_INFINITY;
    }
    right = to;
    if (min[i] < low) low = min[i];
    if (max[i] > high) high = max[i];
  }
  addColumn();
  fill(context, path, color);
}

/**
 * Draw a line through the buckets. NaN interrupts it; a point between two interruptions becomes a dot.
 * @param {PlotArea} area
 * @param {ArrayLike<number>} xs
 * @param {ArrayLike<number>} ys
 * @param {number} n
 * @param {LinePen} pen
 */
export function drawLine(area, xs, ys, n, { color, width, alpha = 1, dash = [], shift = 0 }) {
  const { context, ratio } = area;
  const { path, dots } = linePaths(area, xs, ys, n, width, shift);
  context.save();
  context.globalAlpha = alpha;
  context.strokeStyle = color;
  context.lineWidth = width * ratio;
  context.lineJoin = 'round';
  context.setLineDash(dash.map((length) => length * ratio));
  context.stroke(path);
  fill(context, dots, color);
  context.restore();
}

/**
 * @param {PlotArea} area
 * @param {ArrayLike<number>} xs
 * @param {ArrayLike<number>} ys
 * @param {number} n
 * @param {number} width
 * @param {number} shift
 */
function linePaths({ box, px, py, ratio }, xs, ys, n, width, shift) {
  const path = new Path2D();
  const dots = new Path2D();
  let length = 0;
  let x = 0;
  let y = 0;
  const interrupt = () => {
    if (length === 1) dots.arc(x, y, Math.max(1.5, width) * ratio, 0, FULL_CIRCLE);
    length = 0;
  };
  for (let i = 0; i < n; i++) {
    if (Number.isNaN(ys[i])) {
      interrupt();
      continue;
    }
    if (i + 1 < n && px(xs[i + 1] + shift) < box.left) continue;
    x = px(xs[i] + shift);
    y = py(ys[i]);
    if (length > 0) path.lineTo(x, y);
    else path.moveTo(x, y);
    length += 1;
    if (x > box.left + box.width) break;
  }
  interrupt();
  return { path, dots };
}

/**
 * Mark the newest point of a line with a dot.
 * @param {PlotArea} area
 * @param {number} x
 * @param {number} y
 * @param {string} color
 */
export function drawEndDot({ context, px, py, ratio }, x, y, color) {
  if (Number.isNaN(y)) return;
  const path = new Path2D();
  path.arc(px(x), py(y), 2.5 * ratio, 0, FULL_CIRCLE);
  fill(context, path, color);
}

/**
 * Draw the sum of each bucket as a bar from zero.
 * @param {PlotArea} area
 * @param {Series} series
 * @param {Float64Array} xs
 * @param {1 | -1} sign up or down
 * @param {string} color
 */
export function drawBars({ context, box, px, py, ratio }, series, xs, sign, color) {
  const { n } = series;
  const path = new Path2D();
  const zero = Math.round(py(0));
  const gap = n > 1 ? (px(xs[n - 1]) - px(xs[0])) / (n - 1) : 8 * ratio;
  const width = Math.max(Math.round(ratio), Math.min(Math.round(6 * ratio), Math.floor(gap * 0.7)));
  for (let i = 0; i < n; i++) {
    const left = Math.round(px(xs[i]) - width / 2);
    if (left + width < box.left || left > box.left + box.width) continue;
    const sum = bucketSum(series, i);
    if (sum <= 0) continue;
    const y = Math.round(py(sign * sum));
    path.rect(left, Math.min(y, zero), width, Math.max(Math.round(ratio), Math.abs(zero - y)));
  }
  fill(context, path, color);
}
