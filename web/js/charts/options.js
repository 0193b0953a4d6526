// @ts-check
/** The uPlot options of a chart: axes, scales and cursor. */
/** @import uPlot from '../../vendor/uplot.js' */
import { durationTickLabels, logTickLabels, logTicks, tickLabels, timeTickLabels } from '../format/axes.js';
import { listenToPointer } from './pointer.js';
import { xRange, yRange } from './scales.js';

const FONT = '11px system-ui, sans-serif';
const AXIS_GAP = 6;
const STEP_INCREMENTS = Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((n) => n * 10 ** power)).flat();
const DAY_S = 86_400;
/** Distances of ticks in seconds: whole parts of a minute, an hour and a day, then days. */
const DURATIONS = [
  ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200],
  ...STEP_INCREMENTS.slice(0, 12).map((days) => days * DAY_S),
];
/** Width of a y axis, the same for all charts so that their plots line up; more where a label needs it. */
const AXIS_WIDTH = 46;
/** A plot below this height has its labels closer to each other. */
const LOW_PX = 120;
const pen = document.createElement('canvas').getContext('2d');

/** @param {readonly string[] | null} labels */
function axisWidth(labels) {
  if (!pen || !labels) return AXIS_WIDTH;
  pen.font = FONT;
  const widths = labels.map((label) => pen.measureText(label).width + AXIS_GAP + 2);
  return Math.ceil(Math.max(AXIS_WIDTH, ...widths));
}

/**
 * @param {Picture} picture
 * @returns {uPlot.Axis}
 */
function xAxis({ axis }) {
  const place = { size: 24, gap: 4, space: 48 };
  if (axis === 'relative') {
    return {
      ...place,
      space: 60,
      incrs: DURATIONS,
      values: (_, ticks, __, ___, gap) => durationTickLabels(ticks, gap),
    };
  }
  if (axis === 'time') return { ...place, space: 72, values: (_, ticks, __, ___, gap) => timeTickLabels(ticks, gap) };
  return { ...place, incrs: STEP_INCREMENTS, values: (_, ticks) => tickLabels(ticks) };
}

/** Least height of a label of a logarithmic axis. */
const LOG_LABEL_PX = 18;
/** @param {uPlot} plot */
const yLabelSpace = (plot) => (plot.height < LOW_PX ? 20 : 32);

/**
 * @param {Picture} picture
 * @returns {uPlot.Axis}
 */
function yAxis({ log, kind, unit }) {
  /** @type {uPlot.Axis} */
  const place = { size: (_, labels) => axisWidth(labels), gap: AXIS_GAP, space: yLabelSpace };
  if (log) {
    return {
      ...place,
      splits: (plot, _, low, high) => logTicks(low, high, plot.bbox.height / devicePixelRatio / LOG_LABEL_PX),
      filter: (_, ticks) => ticks,
      values: (_, ticks) => logTickLabels(ticks, unit),
    };
  }
  return { ...place, values: (_, ticks) => tickLabels(kind === 'bars' ? ticks.map(Math.abs) : ticks, unit) };
}

/** A selection that is smaller in one direction is meant for the other one. */
const MIN_BOX_PX = 40;

/**
 * Leave drags with Shift to panning.
 * @param {uPlot.Cursor.MouseListener} select
 * @returns {uPlot.Cursor.MouseListener}
 */
const selectWithoutShift = (select) => (event) => {
  if (event.button === 0 && !event.shiftKey) select(event);
  return null;
};

/**
 * Return the options of a plot. It reads the picture and the colors of its chart anew at every redraw.
 * @param {import('./plots.js').Seat} seat
 * @returns {uPlot.Options}
 */
export function plotOptions(seat) {
  const { host, picture, size } = seat.chart;
  const colors = () => seat.chart.palette.colors;
  const shared = {
    stroke: () => colors().text,
    font: FONT,
    grid: { stroke: () => colors().grid, width: 1 },
    ticks: { show: false },
    border: { show: false },
  };
  const doubleClick = () => {
    seat.chart.gestures.reset();
    return null;
  };
  return {
    // To ask for the size makes the browser work out the layout, for each of the charts that are drawn in a frame.
    width: Math.max(50, size.width || host.clientWidth),
    height: Math.max(50, size.height || host.clientHeight),
    padding: [16, 12, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      points: { show: false },
      drag: { x: true, y: true, uni: MIN_BOX_PX, setScale: false },
      bind: { dblclick: () => doubleClick, mousedown: (_, __, select) => selectWithoutShift(select) },
    },
    scales: {
      x: { time: picture.axis === 'time', range: (_, low, high) => xRange(seat.chart.picture, low, high) },
      y: { distr: picture.log ? 3 : 1, range: () => yRange(seat.chart.picture) },
    },
    series: [{}, { paths: () => null, points: { show: false } }],
    axes: [
      { ...shared, ...xAxis(picture) },
      { ...shared, ...yAxis(picture) },
    ],
    hooks: {
      draw: [(plot) => seat.chart.paint(plot)],
      setSelect: [(plot) => seat.chart.zoomToSelection(plot)],
      ready: [(plot) => listenToPointer(plot, seat)],
    },
  };
}
