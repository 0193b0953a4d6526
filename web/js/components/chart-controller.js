// @ts-check
/** The behavior of a chart card: draws its chart, follows pointer and keyboard, and reports what to show beside it. */
import { Chart } from '../charts/chart.js';
import { describeChart } from '../charts/description.js';
import { neighborX, readLines } from '../charts/readings.js';
import { lastValue, nearestIndex, nonFiniteCount } from '../data/series.js';
import { state } from '../data/state.js';
import { formatExact, formatInteger } from '../format/numbers.js';
import { formatDateTime } from '../format/time.js';
import { formatMetric } from '../format/units.js';

const DESCRIBE_INTERVAL_MS = 1000;
const ARROWS = new Map([
  ['ArrowLeft', -1],
  ['ArrowRight', 1],
]);
const ZOOM_FACTORS = new Map([
  ['+', 0.5],
  ['=', 0.5],
  ['-', 2],
]);

/**
 * @typedef {object} ChartProps
 * @property {App} app
 * @property {string} label name of the series
 * @property {SeriesSource[]} sources
 * @property {number} height
 * @property {ChartKind} kind
 * @property {LineBuilder} lines
 * @property {boolean} marks whether to draw events and filter passes
 * @property {(lists: readonly SeriesList[]) => string} [value] the figure of the card, when it is not the last value
 */

/**
 * What the card shows beside the plot.
 * @typedef {object} ChartReadout
 * @property {Signal<string>} value
 * @property {Signal<string>} exact the value with all digits
 * @property {Signal<number>} nonFinite how many values are NaN or infinite
 * @property {Signal<Tooltip | null>} tooltip
 * @property {Signal<boolean>} manyLines
 */

/**
 * Format a reading: its mean, and its extremes where it has several values.
 * @param {string} key
 * @param {Reading} reading
 */
export function readingText(key, { value, min, max, count }) {
  const mean = formatMetric(key, value);
  return count > 1 && min !== max ? `${mean}  (${formatMetric(key, min)} to ${formatMetric(key, max)})` : mean;
}

/** @implements {GroupMember} */
export class ChartController {
  /**
   * @param {HTMLElement} host
   * @param {ChartProps} props
   * @param {ChartReadout} readout
   */
  constructor(host, props, readout) {
    const { app } = props;
    this.host = host;
    this.props = props;
    this.readout = readout;
    this.sources = props.sources;
    this.describedAt = Number.NEGATIVE_INFINITY;
    this.timer = 0;
    /** @type {[number, number] | null} steps in view, null where the axis shows time */
    this.steps = null;
    this.chart = new Chart(
      host,
      app.palette,
      {
        hover: (x) => (x === null ? app.charts.hideCrosshair(this) : app.charts.setCrosshair(this, x)),
        zoom: (from, to) => app.zoom(this.#stepAt(from), this.#stepAt(to)),
        reset: () => app.resetZoom(),
      },
      props.height,
    );
    this.leaveGroup = app.charts.add(this);
  }

  destroy() {
    clearTimeout(this.timer);
    this.leaveGroup();
    this.chart.destroy();
  }

  /** @param {[number, number] | null} range */
  draw(range) {
    const { app, kind, lines: buildLines, marks } = this.props;
    const { x: axis, log, smooth } = state.view.value;
    const isLine = kind === 'line';
    const lists = this.#lists();
    const lines = buildLines(lists);
    this.chart.draw({
      ...{ kind, lines, axis, x: range, log: log && isLine, smooth: isLine ? smooth : 0 },
      events: marks ? app.eventMarks() : [],
      passes: marks && axis === 'step' ? app.passSteps() : [],
    });
    this.readout.manyLines.value = lines.filter((line) => !line.superseded).length > 1;
    this.readout.nonFinite.value = nonFiniteCount(lists.flat());
    if (app.charts.crosshair === null) this.#showLast();
    this.steps = axis === 'step' ? range : null;
    this.#describeSoon();
  }

  /**
   * @param {number | null} x
   * @param {boolean} own
   */
  point(x, own) {
    if (!own || x === null) this.chart.setCrosshair(x);
    if (x === null) {
      this.readout.tooltip.value = null;
      this.#showLast();
      return;
    }
    const { label, value } = this.props;
    const readings = readLines(this.chart.picture, x);
    if (readings.length && !value) this.readout.value.value = formatMetric(label, readings[0].value);
    this.readout.tooltip.value = own ? this.#tooltip(x, readings) : null;
  }

  /** @param {number} width */
  resize(width) {
    this.chart.resize(width);
  }

  /** @param {KeyboardEvent} event */
  keydown(event) {
    if (event.altKey || event.metaKey || event.ctrlKey) return;
    const { charts } = this.props.app;
    const step = ARROWS.get(event.key);
    const zoom = ZOOM_FACTORS.get(event.key);
    if (step) {
      if (!this.#moveCrosshair(event.shiftKey ? step * 10 : step)) return;
    } else if (zoom) this.chart.magnify(charts.crosshair, zoom);
    else if (event.key === 'Escape') charts.setCrosshair(this, null);
    else return;
    event.preventDefault();
  }

  blur() {
    this.props.app.charts.hideCrosshair(this);
  }

  #lists() {
    return this.sources.map(({ run, key }) => this.props.app.store.get(run, key));
  }

  /** Show the last value, as there is no crosshair. */
  #showLast() {
    const { label, value } = this.props;
    const lists = this.#lists();
    const last = lastValue(lists[0]);
    this.readout.value.value = value ? value(lists) : formatMetric(label, last);
    this.readout.exact.value = last === null ? '' : formatExact(last);
  }

  /** Update the accessible name at most once a second, and after the last change too. */
  #describeSoon() {
    if (this.timer) return;
    const describe = () => {
      this.timer = 0;
      this.describedAt = performance.now();
      const list = this.#lists().find((series) => series.length) ?? [];
      this.host.setAttribute('aria-label', describeChart(this.props.label, list, this.steps));
    };
    this.timer = setTimeout(describe, this.describedAt + DESCRIBE_INTERVAL_MS - performance.now());
  }

  /**
   * Return the step at an x value, which is a time where the axis shows time.
   * @param {number} x
   */
  #stepAt(x) {
    if (state.view.value.x === 'step') return x;
    const series = this.#lists()[0].at(-1);
    return series ? (series.x[nearestIndex(series.time, series.n, x)] ?? 0) : 0;
  }

  /**
   * @param {number} x
   * @param {Reading[]} readings
   * @returns {Tooltip}
   */
  #tooltip(x, readings) {
    const left = this.chart.offset(x);
    const isTime = state.view.value.x === 'time';
    const title = isTime ? formatDateTime(x) : `step ${formatInteger(readings[0]?.x ?? x)}`;
    return { left, flip: left > this.host.clientWidth / 2, title, readings };
  }

  /**
   * Move the crosshair and announce the values under it.
   * @param {number} by buckets to the right
   * @returns {boolean} false without data
   */
  #moveCrosshair(by) {
    const { app, label } = this.props;
    const x = neighborX(this.chart.picture, app.charts.crosshair, by);
    if (x === null) return false;
    this.chart.setCrosshair(x);
    app.charts.setCrosshair(this, x);
    const { tooltip, manyLines } = this.readout;
    const values = readLines(this.chart.picture, x).map((reading) => {
      const text = readingText(label, reading);
      return manyLines.value ? `${reading.label} ${text}` : text;
    });
    state.announcement.value = `${tooltip.value?.title}: ${values.join(', ')}`;
    return true;
  }
}
