// @ts-check
/**
 * One chart: the only file that knows uPlot. It has axes, ticks, zoom and crosshair from there; all data is painted by
 * `draw.js`, with the y range taken from the band. Data comes ready; must not know where from.
 */
import uPlot from '../vendor/uplot.js';
import { band, bars, clipped, endDot, eventMarks, line, nonFiniteMarks, passTicks } from './draw.js';
import { clockTicks, logSplits, logTicks, ticks } from './format.js';
import { lowerBound, nearest, smooth, valueRange } from './series.js';

export const SERIES_COLORS = 8;
const FONT = '11px system-ui, sans-serif';
const AXIS_WIDTH = 46;
const AXIS_GAP = 6;
const pen = document.createElement('canvas').getContext('2d');

/** The colours of the present theme, from the style sheet. @returns {Colors} */
export function readColors() {
  const style = getComputedStyle(document.documentElement);
  const token = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  const all = Array.from({ length: SERIES_COLORS }, (_, i) => i + 1);
  return {
    grid: token('--grid'),
    text: token('--muted'),
    bad: token('--bad'),
    warn: token('--warn'),
    mark: token('--mark'),
    pass: token('--pass'),
    series: all.map((i) => token(`--series-${i}`)),
    wash: all.map((i) => token(`--wash-${i}`)),
  };
}

/** @type {Picture} */
const EMPTY = { kind: 'line', lines: [], x: null, log: false, smooth: 0, axis: 'step', marks: [], passes: [] };
const STEP_INCREMENTS = Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((n) => n * 10 ** power)).flat();

/** Pixels for a y axis: the same for all charts, so that they stand in line, and more where a label needs it. @param {readonly string[] | null} labels */
function axisWidth(labels) {
  if (!pen || !labels) return AXIS_WIDTH;
  pen.font = FONT;
  const widths = labels.map((label) => pen.measureText(label).width + AXIS_GAP + 2);
  return Math.ceil(Math.max(AXIS_WIDTH, ...widths));
}

export class Chart {
  /** @param {HTMLElement} host @param {Colors} colors @param {Gestures} gestures @param {number} height */
  constructor(host, colors, gestures, height) {
    this.host = host;
    this.colors = colors;
    this.gestures = gestures;
    this.height = height;
    this.picture = EMPTY;
    /** @type {uPlot | null} */
    this.plot = null;
    this.shape = '';
  }

  /** Draws this picture; the chart is made anew only when its axes change their nature. @param {Picture} picture */
  draw(picture) {
    this.picture = picture;
    const shape = `${picture.axis} ${picture.log} ${picture.kind}`;
    if (this.plot && shape !== this.shape) this.destroy();
    this.shape = shape;
    const main = picture.lines.at(-1)?.series;
    /** @type {any} */
    const data = main ? [this.xs(main), main.mean.subarray(0, main.n)] : [[], []];
    if (this.plot) this.plot.setData(data);
    else this.plot = new uPlot(this.options(), data, this.host);
  }

  /** @param {Colors} colors */
  recolor(colors) {
    this.colors = colors;
    this.plot?.redraw(false, true);
  }

  /** @param {number} width */
  resize(width) {
    if (this.plot && this.plot.width !== width) this.plot.setSize({ width, height: this.height });
  }

  /** Where a series is on the x axis. @param {Series} series */
  xs(series) {
    return (this.picture.axis === 'time' ? series.time : series.x).subarray(0, series.n);
  }

  /** Puts the crosshair at an x value, or takes it away. @param {number | null} x */
  point(x) {
    const plot = this.plot;
    if (!plot) return;
    const left = x === null ? -1 : plot.valToPos(x, 'x');
    const inside = left >= 0 && left <= plot.over.clientWidth;
    plot.setCursor({ left: inside ? left : -10, top: inside ? 0 : -10 }, false);
  }

  /** CSS pixels from the left edge of the host to an x value. @param {number} x */
  offset(x) {
    const plot = this.plot;
    return plot ? plot.valToPos(x, 'x') + plot.bbox.left / uPlot.pxRatio : 0;
  }

  /** The values of all lines at an x value, highest first. @param {number} x @returns {Reading[]} */
  read(x) {
    /** @type {Reading[]} */
    const found = [];
    for (const { series: s, label, color, ghost } of this.picture.lines) {
      const i = ghost ? -1 : nearest(this.xs(s), s.n, x);
      if (i < 0) continue;
      found.push({ label, color, x: s.x[i], value: s.count[i] === 1 ? s.last[i] : s.mean[i], min: s.min[i], max: s.max[i], count: s.count[i] });
    }
    return found.sort((a, b) => b.value - a.value);
  }

  /** The x value of the bucket `by` places from the one at `x` (from the last one when `x` is null). @param {number | null} x @param {number} by */
  neighbour(x, by) {
    const s = this.picture.lines.at(-1)?.series;
    if (!s || s.n === 0) return null;
    const xs = this.xs(s);
    const at = x === null ? s.n - (by < 0 ? 0 : 1) : nearest(xs, s.n, x);
    return xs[Math.min(s.n - 1, Math.max(0, at + by))];
  }

  destroy() {
    this.plot?.destroy();
    this.plot = null;
  }

  /** @returns {uPlot.Options} */
  options() {
    const { axis, log, kind } = this.picture;
    const grid = { stroke: () => this.colors.grid, width: 1 };
    const shared = { stroke: () => this.colors.text, font: FONT, grid, ticks: { show: false }, border: { show: false } };
    return {
      width: Math.max(50, this.host.clientWidth),
      height: this.height,
      padding: [16, 12, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false },
        bind: { dblclick: () => () => (this.gestures.reset(), null) },
      },
      scales: {
        x: { time: axis === 'time', range: (_, low, high) => this.rangeX(low, high) },
        y: { distr: log ? 3 : 1, range: () => this.rangeY() },
      },
      series: [{}, { paths: () => null, points: { show: false } }],
      axes: [
        { ...shared, size: 24, gap: 4, space: 48, ...(axis === 'step' ? { incrs: STEP_INCREMENTS, values: (_, at) => ticks(at) } : { values: (_, at, __, ___, gap) => clockTicks(at, gap) }) },
        {
          ...shared, size: (_, labels) => axisWidth(labels), gap: AXIS_GAP, space: 32,
          ...(log ? { splits: (_, __, low, high) => logSplits(low, high), filter: (_, at) => at, values: (_, at) => logTicks(at) }
            : { values: (_, at) => ticks(kind === 'bars' ? at.map(Math.abs) : at) }),
        },
      ],
      hooks: {
        draw: [(plot) => this.paint(plot)],
        setSelect: [(plot) => this.selected(plot)],
        ready: [(plot) => this.listen(plot)],
      },
    };
  }

  /** @param {uPlot} plot */
  listen(plot) {
    const at = (/** @type {MouseEvent} */ event) => plot.posToVal(event.clientX - plot.over.getBoundingClientRect().left, 'x');
    plot.over.addEventListener('mousemove', (event) => this.gestures.hover(at(event)));
    plot.over.addEventListener('mouseleave', () => this.gestures.hover(null));
    plot.over.addEventListener('wheel', (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.magnify(at(event), event.deltaY < 0 ? 0.7 : 1 / 0.7);
    }, { passive: false });
  }

  /** Zooms around an x value (the middle when null); a `factor` below 1 shows less. @param {number | null} x @param {number} factor */
  magnify(x, factor) {
    const { min, max } = this.plot?.scales.x ?? {};
    if (min == null || max == null) return;
    const pivot = x ?? (min + max) / 2;
    this.gestures.zoom(pivot - (pivot - min) * factor, pivot + (max - pivot) * factor);
  }

  /** @param {number | null} low @param {number | null} high @returns {[number, number]} */
  rangeX(low, high) {
    const [from, to] = this.picture.x ?? [low ?? 0, high ?? 1];
    return to > from ? [from, to] : [from - 0.5, from + 0.5];
  }

  /** @returns {[number, number]} */
  rangeY() {
    const { kind, lines, log } = this.picture;
    const [from, to] = this.span();
    if (kind === 'bars') return this.barRange();
    // What was superseded must not squeeze what counts: an attempt is often given up because its values had exploded.
    const found = valueRange(lines.filter((l) => !l.ghost).map((l) => l.series), from, to, log);
    if (!found) return log ? [0.1, 10] : [0, 1];
    const [low, high] = found;
    if (log) return low === high ? [low / 2, high * 2] : [low / 1.15, high * 1.15];
    const pad = low === high ? Math.abs(low) * 0.1 || 1 : (high - low) * 0.06;
    return [low >= 0 && low - pad < 0 ? 0 : low - pad, high + pad];
  }

  /** Steps in view, whatever the axis shows. @returns {[number, number]} */
  span() {
    const { axis, x, lines } = this.picture;
    if (axis === 'step' && x) return x;
    const all = lines.map((l) => l.series).filter((s) => s.n > 0);
    return all.length ? [Math.min(...all.map((s) => s.x[0])), Math.max(...all.map((s) => s.x[s.n - 1]))] : [0, 1];
  }

  /** @returns {[number, number]} */
  barRange() {
    const [from, to] = this.span();
    const most = this.picture.lines.map(({ series: s }) => {
      let top = 0;
      for (let i = lowerBound(s.x, s.n, from); i < s.n && s.x[i] <= to; i++) top = Math.max(top, s.mean[i] * (s.count[i] - s.nan[i]) || 0);
      return top;
    });
    const [up = 0, down = 0] = most;
    return up + down > 0 ? [-Math.max(down, up * 0.15) * 1.1, Math.max(up, down * 0.15) * 1.1] : [-1, 1];
  }

  /** @param {uPlot} plot */
  selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.gestures.zoom(plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x'));
  }

  /** @param {uPlot} plot */
  paint(plot) {
    const { left, top, width, height } = plot.bbox;
    const x = plot.scales.x;
    const y = plot.scales.y;
    if (x.min == null || x.max == null || y.min == null || y.max == null) return;
    const [x0, x1, y0, y1] = [x.min, x.max, y.min, y.max];
    const across = width / (x1 - x0);
    const floor = this.picture.log ? Math.log10(y0) : y0;
    const up = height / ((this.picture.log ? Math.log10(y1) : y1) - floor);
    const base = top + height;
    /** @type {Plot} */
    const frame = {
      g: plot.ctx,
      box: plot.bbox,
      ratio: uPlot.pxRatio,
      px: (v) => left + (v - x0) * across,
      // On a logarithmic axis a value of 0 or below has no place: it goes to the lower edge, where the band ends.
      py: this.picture.log ? (v) => (v > 0 ? base - (Math.log10(v) - floor) * up : base) : (v) => base - (v - floor) * up,
    };
    clipped(frame, () => this.paintData(frame));
    eventMarks(frame, this.picture.marks);
  }

  /** @param {Plot} frame */
  paintData(frame) {
    const { kind, lines, passes, axis, smooth: weight } = this.picture;
    if (kind === 'bars') {
      lines.forEach((l, i) => bars(frame, l.series, this.xs(l.series), i === 0 ? 1 : -1, l.color));
      return;
    }
    const single = lines.filter((l) => !l.ghost).length === 1;
    for (const { series: s, color, wash, dash, ghost } of lines) {
      const xs = this.xs(s);
      const shift = axis === 'step' ? (s.width - 1) / 2 : 0;
      if (ghost) {
        line(frame, xs, weight ? smooth(s.mean, s.n, weight) : s.mean, s.n, { color, dash, shift, width: 1.25, alpha: 0.6 });
        continue;
      }
      // A bucket has its first step, but the time of its last point: on a time axis it begins where the one before ended.
      if (single) band(frame, s, axis === 'step' ? (i) => [xs[i], xs[i] + s.width] : (i) => [xs[Math.max(0, i - 1)], xs[i]], wash);
      const pen = { color, dash, shift, width: 1.5, alpha: weight ? 0.3 : 1 };
      line(frame, xs, s.mean, s.n, weight ? { ...pen, width: 1 } : pen);
      if (weight) line(frame, xs, smooth(s.mean, s.n, weight), s.n, { ...pen, alpha: 1, width: 1.75 });
      if (s.n && !weight) endDot(frame, xs[s.n - 1] + shift, s.mean[s.n - 1], color);
      nonFiniteMarks(frame, s, xs, this.colors.bad);
    }
    passTicks(frame, passes, this.colors.pass);
  }
}
