// @ts-check
/** Draws a picture: maps values to pixels and puts lines, bars and marks on the canvas in their order. */
import { axisColumn, smooth } from '../data/series.js';
import { drawCheckpoints, drawEvents, drawNonFinite, drawPasses, drawPauses } from './marks.js';
import { clipped, drawBand, drawBars, drawEndDot, drawLine } from './shapes.js';

/**
 * Draw a picture onto a canvas.
 * @param {CanvasRenderingContext2D} context
 * @param {PlotArea['box']} box
 * @param {number} ratio device pixels per CSS pixel
 * @param {[number, number]} xRange
 * @param {[number, number]} yRange
 * @param {Picture} picture
 * @param {Colors} colors
 */
export function paintPicture(context, box, ratio, xRange, yRange, picture, colors) {
  const area = plotArea(context, box, ratio, xRange, yRange, picture.log);
  clipped(area, () => {
    if (picture.kind === 'bars') paintBars(area, picture);
    else if (picture.kind === 'stack') paintStack(area, picture, colors);
    else paintLines(area, picture, colors);
  });
  drawCheckpoints(
    area,
    picture.events.filter(({ minor }) => minor),
  );
  drawEvents(
    area,
    picture.events.filter(({ minor }) => !minor),
  );
}

/**
 * Return the mapping from values to pixels.
 * @param {CanvasRenderingContext2D} context
 * @param {PlotArea['box']} box
 * @param {number} ratio
 * @param {[number, number]} xRange
 * @param {[number, number]} yRange
 * @param {boolean} log
 * @returns {PlotArea}
 */
export function plotArea(context, box, ratio, [x0, x1], [y0, y1], log) {
  const base = box.top + box.height;
  const across = box.width / (x1 - x0);
  const floor = log ? Math.log10(y0) : y0;
  const up = box.height / ((log ? Math.log10(y1) : y1) - floor);
  return {
    context,
    box,
    ratio,
    px: (x) => box.left + (x - x0) * across,
    // A logarithmic axis has no place for 0 and below: such values go to the lower edge, where the band ends.
    py: log ? (y) => (y > 0 ? base - (Math.log10(y) - floor) * up : base) : (y) => base - (y - floor) * up,
  };
}

/**
 * @param {PlotArea} area
 * @param {Picture} picture
 */
function paintBars(area, { lines, axis }) {
  lines.forEach(({ series, color }, i) => {
    drawBars(area, series, axisColumn(series, axis), i === 0 ? 1 : -1, color);
  });
}

/**
 * Paint the highest layer first: each layer covers what lies below its own edge of the layers above it.
 * @param {PlotArea} area
 * @param {Picture} picture
 * @param {Colors} colors
 */
function paintStack(area, { lines, axis, pauses, passes }, colors) {
  drawPauses(area, pauses, colors.text);
  for (const line of [...lines].reverse()) {
    drawBand(area, line.series, bucketSpan(line, axis, true), line.color, line.color);
  }
  drawPasses(area, passes, colors.pass);
}

/**
 * @param {PlotArea} area
 * @param {Picture} picture
 * @param {Colors} colors
 */
function paintLines(area, picture, colors) {
  const { lines, passes, pauses } = picture;
  drawPauses(area, pauses, colors.text);
  const current = lines.filter((line) => !line.superseded);
  for (const line of lines) {
    if (line.superseded) paintSuperseded(area, line, picture);
    else paintCurrent(area, line, picture, line.band ?? current.length === 1, colors.bad);
  }
  drawPasses(area, passes, colors.pass);
}

/**
 * Return how far points are drawn to the right of their x value: a bucket's in its middle.
 * @param {Series} series
 * @param {Axis} axis
 */
const bucketShift = (series, axis) => (axis === 'step' ? (series.width - 1) / 2 : 0);

/**
 * @param {PlotArea} area
 * @param {Line} line
 * @param {Picture} picture
 */
function paintSuperseded(area, { series, color, dash, gaps }, { axis, smooth: weight }) {
  const values = weight ? smooth(series.mean, series.n, weight) : series.mean;
  const pen = { color, dash, gaps, shift: bucketShift(series, axis), width: 1.25, alpha: 0.6 };
  drawLine(area, axisColumn(series, axis), values, series.n, pen);
}

/**
 * @param {PlotArea} area
 * @param {Line} line
 * @param {Picture} picture
 * @param {boolean} withBand
 * @param {string} nonFiniteColor
 */
function paintCurrent(area, line, { axis, smooth: weight }, withBand, nonFiniteColor) {
  const { series, color, tint, dash, gaps } = line;
  const { n, mean } = series;
  const xs = axisColumn(series, axis);
  const shift = bucketShift(series, axis);
  if (withBand) drawBand(area, series, bucketSpan(line, axis, line.band), tint, color);
  const pen = { color, dash, shift, gaps };
  if (weight) {
    drawLine(area, xs, mean, n, { ...pen, width: 1, alpha: 0.3 });
    drawLine(area, xs, smooth(mean, n, weight), n, { ...pen, width: 1.75 });
  } else {
    drawLine(area, xs, mean, n, { ...pen, width: 1.5 });
    if (n) drawEndDot(area, xs[n - 1] + shift, mean[n - 1], color);
  }
  drawNonFinite(area, series, xs, nonFiniteColor);
}

/**
 * Return the least distance of two points, at least the width of a bucket.
 * @param {Float64Array} x
 * @param {number} n
 * @param {number} width
 */
function leastDistance(x, n, width) {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 1; i < n; i++) least = Math.min(least, x[i] - x[i - 1]);
  return n > 1 ? Math.max(width, least) : width;
}

/**
 * Return where a bucket begins and ends on the x axis. A bucket has its first step but the time of its last point: on a
 * time axis it begins where the one before ended, unless nothing was reported for long since then.
 * @param {Line} line
 * @param {Axis} axis
 * @param {boolean} areas whether single points are as wide as their distance too, as layers of a stack are and the band
 *   of many ranks
 * @returns {(i: number) => [number, number]}
 */
function bucketSpan({ series, gaps = [] }, axis, areas = false) {
  const { x, count, n, width } = series;
  if (axis === 'step') {
    const distance = areas ? leastDistance(x, n, width) : width;
    const before = (distance - width) / 2;
    return (i) => [x[i] - before, x[i] - before + distance];
  }
  const time = axisColumn(series, axis);
  const afterGap = new Set(gaps);
  return (i) =>
    i === 0 || (count[i] === 1 && !areas) || afterGap.has(i) ? [time[i], time[i]] : [time[i - 1], time[i]];
}
