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

/** A column is a spike if it is this many times as high as the median one and its neighbors are not. */
const SPIKE_FACTOR = 4;
const MIN_SPIKE_PX = 6;
const MAX_SPIKE_COLUMNS = 3;

/** @typedef {{left: number, width: number, top: number, height: number}} BandColumn in canvas pixels */

/**
 * Draw the span from minimum to maximum as one pixel-aligned rectangle per pixel column. A filled outline would fade
 * out a spike of one bucket: this draws columns that stand out in the full color of the line.
 * @param {PlotArea} area
 * @param {Series} series
 * @param {(i: number) => [number, number]} span where a bucket begins and ends on the x axis
 * @param {string} tint
 * @param {string} color
 */
export function drawBand(area, series, span, tint, color) {
  const columns = bandColumns(area, series, span);
  const usual = columns.map(({ height }) => height).sort((a, b) => a - b)[columns.length >> 1] ?? 0;
  const outstanding = Math.max(MIN_SPIKE_PX * area.ratio, SPIKE_FACTOR * usual);
  const band = new Path2D();
  const spikes = new Path2D();
  const isHigh = columns.map(({ height, width }) => height > outstanding && width <= 2 * area.ratio);
  for (let i = 0; i < columns.length; ) {
    let end = i + 1;
    while (isHigh[i] && isHigh[end]) end += 1;
    const path = isHigh[i] && end - i <= MAX_SPIKE_COLUMNS ? spikes : band;
    for (; i < end; i++) {
      const { left, width, top, height } = columns[i];
      if (height > 0) path.rect(left, top, width, height);
    }
  }
  fill(area.context, band, tint);
  fill(area.context, spikes, color);
}

/**
 * Return the columns of a band. Buckets narrower than a pixel are merged; one without extent has height 0.
 * @param {PlotArea} area
 * @param {Series} series
 * @param {(i: number) => [number, number]} span
 * @returns {BandColumn[]}
 */
function bandColumns({ box, px, py, ratio }, { n, min, max }, span) {
  /** @type {BandColumn[]} */
  const columns = [];
  const pixel = Math.max(1, Math.round(ratio));
  /** @type {{left: number, right: number, low: number, high: number} | null} */
  let open = null;
  const close = () => {
    if (!open) return;
    const top = Math.floor(py(open.high));
    const height = open.high > open.low ? Math.max(1, Math.ceil(py(open.low)) - top) : 0;
    columns.push({ left: open.left, width: Math.max(pixel, open.right - open.left), top, height });
  };
  for (let i = 0; i < n; i++) {
    const [start, end] = span(i);
    const left = Math.floor(px(start));
    const right = Math.floor(px(end));
    if (right < box.left || left > box.left + box.width || Number.isNaN(min[i])) continue;
    // A wide bucket stays by itself: merged, the extremes of its neighbor would seem to hold for all of its width.
    if (open && open.left === left && right - left <= pixel && open.right - open.left <= pixel) {
      open.right = Math.max(open.right, right);
      open.low = Math.min(open.low, min[i]);
      open.high = Math.max(open.high, max[i]);
      continue;
    }
    close();
    open = { left, right, low: min[i], high: max[i] };
  }
  close();
  return columns;
}

/**
 * Draw a line through the buckets. NaN and gaps interrupt it; a point between two interruptions becomes a dot.
 * @param {PlotArea} area
 * @param {ArrayLike<number>} xs
 * @param {ArrayLike<number>} ys
 * @param {number} n
 * @param {LinePen} pen
 */
export function drawLine(area, xs, ys, n, { color, width, alpha = 1, dash = [], shift = 0, gaps = [] }) {
  const { context, ratio } = area;
  const { path, dots } = linePaths(area, xs, ys, n, width, shift, gaps);
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
 * @param {readonly number[]} gaps
 */
function linePaths({ box, px, py, ratio }, xs, ys, n, width, shift, gaps) {
  const path = new Path2D();
  const dots = new Path2D();
  let length = 0;
  let x = 0;
  let y = 0;
  const interrupt = () => {
    if (length === 1) dots.arc(x, y, Math.max(1.5, width) * ratio, 0, FULL_CIRCLE);
    length = 0;
  };
  let nextGap = 0;
  for (let i = 0; i < n; i++) {
    if (i === gaps[nextGap]) {
      interrupt();
      nextGap += 1;
    }
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
