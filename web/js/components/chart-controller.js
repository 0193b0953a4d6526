// @ts-check
/** The behavior of a chart card: draws its chart, follows pointer and keyboard, and reports what to show beside it. */
import { outsideText, pauseText, positionText, readingText } from '../charts/captions.js';
import { Chart } from '../charts/chart.js';
import { describeCharts } from '../charts/description.js';
import { withGaps } from '../charts/picture.js';
import { eventsNear, namedRanks, neighborX, readLines, subjectLine } from '../charts/readings.js';
import { outsideCounts } from '../charts/scales.js';
import { axisOrigin, nonFiniteCount } from '../data/series.js';
import { setScale, state } from '../data/state.js';
import { formatExact } from '../format/numbers.js';
import { commonUnit, formatMetric } from '../format/units.js';
import { carryOutKey } from './chart-keys.js';

const DESCRIBE_INTERVAL_MS = 1000;
/** How far from the crosshair events are told of. */
const EVENT_DISTANCE_PX = 5;

/**
 * @typedef {object} ChartProps
 * @property {App} app
 * @property {string} label name of the series
 * @property {SeriesSource[]} sources
 * @property {ChartKind} kind
 * @property {LineBuilder} lines
 * @property {boolean} marks whether to draw events and filter passes
 * @property {boolean} [log] whether the vertical axis is logarithmic whatever the view says
 * @property {boolean} [owned] whether the figure always says whose it is
 * @property {(lists: readonly SeriesList[]) => string} [value] the figure of the card, when it is not the last value
 */

/**
 * What the card shows beside the plot.
 * @typedef {object} ChartReadout
 * @property {Signal<string>} value
 * @property {Signal<string>} owner whose value it is, empty where a chart has one line
 * @property {Signal<NamedRank[]>} named ranks that lie apart from the others
 * @property {Signal<string>} exact the value with all digits
 * @property {Signal<string>} outside how many values lie outside of the vertical axis
 * @property {Signal<number>} nonFinite how many values are NaN or infinite
 * @property {Signal<Tooltip | null>} tooltip
 * @property {Signal<boolean>} manyLines
 */

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
    this.chart = new Chart(host, app, {
      hover: (x) => (x === null ? app.charts.hideCrosshair(this) : app.charts.setCrosshair(this, x)),
      zoom: (from, to) => app.zoom(from, to),
      reset: () => app.resetZoom(),
      open: (mark) => app.openMark(mark),
      pan: (from, to, settled) => app.pan(from, to, settled),
      rescale: (low, high) => setScale(props.label, low, high),
    });
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
    const { x: axis, log, robust, scales, smooth } = state.view.value;
    const scale = scales.find(([name]) => name === this.props.label);
    const isLog = log || Boolean(this.props.log);
    const isLine = kind === 'line';
    const lists = this.#lists();
    const { lines, pauses } = withGaps(buildLines(lists), axis);
    const keys = (lines.length ? lines.map(({ series }) => series) : this.sources).map(({ key }) => key);
    const picture = {
      ...{ kind, lines, pauses, axis, x: range, unit: commonUnit(keys) },
      ...{ log: isLog && isLine, robust: (robust && isLine) || kind === 'stack', smooth: isLine ? smooth : 0 },
      y: scale ? /** @type {[number, number]} */ ([scale[1], scale[2]]) : null,
      events: marks ? app.eventMarks() : [],
      passes: marks && axis === 'step' ? app.passSteps() : [],
    };
    this.chart.draw(picture);
    this.readout.manyLines.value = lines.filter((line) => !line.superseded).length > 1;
    this.readout.nonFinite.value = nonFiniteCount(lists.flat());
    this.readout.named.value = namedRanks(this.readout.named.value, lines);
    this.readout.outside.value = outsideText(outsideCounts(picture));
    if (app.charts.crosshair === null) this.#showLast();
    this.steps = axis === 'step' ? range : null;
    this.#describeSoon();
  }

  /**
   * @param {number | null} x
   * @param {boolean} own
   */
  point(x, own) {
    const byPointer = own && this.chart.pointer !== null;
    if (!byPointer || x === null) this.chart.setCrosshair(x);
    if (x === null) {
      this.readout.tooltip.value = null;
      this.#showLast();
      return;
    }
    const readings = readLines(this.chart.picture, x);
    this.#showReading(readings);
    this.readout.tooltip.value = own ? this.#tooltip(x, readings) : null;
  }

  release() {
    this.chart.release();
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  resize(width, height) {
    this.chart.resize(width, height);
  }

  /** @param {KeyboardEvent} event */
  keydown(event) {
    const { charts } = this.props.app;
    const isMeant = carryOutKey(event, this.chart, {
      x: charts.crosshair,
      move: (by) => this.#moveCrosshair(by),
      hide: () => charts.setCrosshair(this, null),
    });
    if (isMeant) event.preventDefault();
  }

  blur() {
    this.props.app.charts.hideCrosshair(this);
  }

  /** Return the time that is 0 on the horizontal axis. */
  #origin() {
    const line = this.chart.picture.lines[0];
    return line ? axisOrigin(line.series, this.chart.picture.axis) : 0;
  }

  #lists() {
    return this.sources.map(({ run, key }) => this.props.app.store.get(run, key));
  }

  /** Show the last value of the first line, as there is no crosshair. */
  #showLast() {
    const { value } = this.props;
    const line = subjectLine(this.chart.picture.lines);
    const last = line ? line.series.last[line.series.n - 1] : null;
    this.readout.value.value = value ? value(this.#lists()) : formatMetric(line?.series.key ?? '', last);
    this.readout.exact.value = last === null ? '' : formatExact(last);
    this.#showOwner(line);
  }

  /**
   * Show the value of the same line under the crosshair.
   * @param {Reading[]} readings
   */
  #showReading(readings) {
    if (this.props.value) return;
    const line = subjectLine(this.chart.picture.lines);
    const reading = readings.find((one) => one.label === line?.label);
    this.readout.value.value = formatMetric(reading?.key ?? '', reading?.value);
    this.readout.exact.value = reading ? formatExact(reading.value) : '';
    this.#showOwner(line);
  }

  /** @param {Line | undefined} line */
  #showOwner(line) {
    const { owned, value } = this.props;
    this.readout.owner.value = !value && (owned || this.readout.manyLines.value) ? (line?.label ?? '') : '';
  }

  /** Update the accessible name at most once a second, and after the last change too. */
  #describeSoon() {
    if (this.timer) return;
    const describe = () => {
      this.timer = 0;
      this.describedAt = performance.now();
      const { kind, label } = this.props;
      const keys = this.sources.map(({ key }) => (kind === 'line' ? key : label));
      this.host.setAttribute('aria-label', describeCharts(keys, this.#lists(), this.steps));
    };
    this.timer = setTimeout(describe, this.describedAt + DESCRIBE_INTERVAL_MS - performance.now());
  }

  /**
   * @param {number} x
   * @param {Reading[]} readings
   * @returns {Tooltip}
   */
  #tooltip(x, readings) {
    const { picture } = this.chart;
    const title = positionText(picture.axis, x, readings[0]?.x ?? x);
    const pause = picture.pauses.find(([from, to]) => x > from && x < to);
    const events = eventsNear(picture, x, this.chart.xLength(EVENT_DISTANCE_PX));
    const color = this.props.app.palette.colors.text;
    const notes = pause ? [{ text: pauseText(pause, state.events.peek(), this.#origin()), color }, ...events] : events;
    return { left: this.chart.offset(x), title, readings, notes };
  }

  /**
   * Move the crosshair and announce the values at it.
   * @param {number} by buckets to the right
   * @returns {boolean} false without data
   */
  #moveCrosshair(by) {
    const { app } = this.props;
    const x = neighborX(this.chart.picture, app.charts.crosshair, by);
    if (x === null) return false;
    this.chart.pointer = null;
    app.charts.setCrosshair(this, x);
    const { tooltip, manyLines } = this.readout;
    const values = readLines(this.chart.picture, x).map((reading) => {
      const text = readingText(reading);
      return manyLines.value ? `${reading.label} ${text}` : text;
    });
    const notes = tooltip.value?.notes.map((note) => note.text) ?? [];
    state.announcement.value = `${tooltip.value?.title}: ${[...values, ...notes].join(', ')}`;
    return true;
  }
}
