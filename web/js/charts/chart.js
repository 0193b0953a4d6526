// @ts-check
/**
 * One chart. The only module that creates a uPlot: axes, zoom and crosshair are its own; `paint.js` draws the data.
 */
import uPlot from '../../vendor/uplot.js';
import { axisColumn } from '../data/series.js';
import { plotOptions } from './options.js';
import { paintPicture } from './paint.js';
import { EMPTY_PICTURE } from './picture.js';
import { markNear } from './readings.js';

const MIN_SELECTION_PX = 4;
/** How far from a mark a click still means it. */
const MARK_PX = 5;

/**
 * Draw data at once rather than in a microtask: the place of the pointer is looked up on the new axes.
 * @param {uPlot} plot
 * @param {uPlot.AlignedData} data
 */
const show = (plot, data) => plot.batch(() => plot.setData(data));

export class Chart {
  /**
   * @param {HTMLElement} host
   * @param {{palette: import('./colors.js').Palette, plots: import('./plots.js').PlotPool}} shared by all charts
   * @param {ChartGestures} gestures
   */
  constructor(host, { palette, plots }, gestures) {
    this.host = host;
    this.palette = palette;
    this.plots = plots;
    this.gestures = gestures;
    this.picture = EMPTY_PICTURE;
    /** @type {import('./plots.js').Seat | null} */
    this.seat = null;
    this.axes = '';
    /** Of the host, in pixels; 0 until it is known. */
    this.size = { width: 0, height: 0 };
    /** @type {number | null} where the pointer is, in pixels from the left edge of the plot */
    this.pointer = null;
    this.stopListening = palette.onChange(() => this.plot?.redraw(false, true));
  }

  get plot() {
    return this.seat?.plot ?? null;
  }

  destroy() {
    this.stopListening();
    this.release();
  }

  /** Leave the plot to other charts; the next picture gets one again. */
  release() {
    if (this.seat) this.plots.give(this.axes, this.seat);
    this.seat = null;
    this.pointer = null;
  }

  /**
   * Draw a picture. It needs another plot only when its axes change their kind.
   * @param {Picture} picture
   */
  draw(picture) {
    this.picture = picture;
    const axes = `${picture.axis} ${picture.log} ${picture.kind} ${picture.unit.symbol}`;
    if (axes !== this.axes) this.release();
    this.axes = axes;
    const main = picture.lines.at(-1)?.series;
    /** @type {any} */
    const data = main ? [axisColumn(main, picture.axis), main.mean.subarray(0, main.n)] : [[], []];
    if (this.seat) show(this.seat.plot, data);
    else this.#sit(data);
    // The axis may have moved below a pointer that rests: what is under it now has another x value.
    if (this.pointer !== null && this.plot) this.gestures.hover(this.plot.posToVal(this.pointer, 'x'));
  }

  /**
   * Take a plot that another chart has left, or create one.
   * @param {uPlot.AlignedData} data
   */
  #sit(data) {
    const left = this.plots.take(this.axes);
    if (left) {
      this.seat = left;
      left.chart = this;
      this.host.append(left.plot.root);
      left.plot.setCursor({ left: -10, top: -10 }, false);
      this.resize(this.size.width, this.size.height);
      show(left.plot, data);
      return;
    }
    const seat = /** @type {import('./plots.js').Seat} */ (/** @type {unknown} */ ({ chart: this }));
    seat.plot = new uPlot(plotOptions(seat), data, this.host);
    this.seat = seat;
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  resize(width, height) {
    this.size = { width, height };
    const { plot } = this;
    if (plot && height > 0 && (plot.width !== width || plot.height !== height)) plot.setSize({ width, height });
  }

  /**
   * Put the crosshair at an x value, or hide it.
   * @param {number | null} x
   */
  setCrosshair(x) {
    const { plot } = this;
    if (!plot) return;
    const left = x === null ? -1 : plot.valToPos(x, 'x');
    const inside = left >= 0 && left <= plot.over.clientWidth;
    plot.setCursor({ left: inside ? left : -10, top: inside ? 0 : -10 }, false);
  }

  /**
   * Return the distance of an x value from the left edge of the host, in CSS pixels.
   * @param {number} x
   */
  offset(x) {
    return this.plot ? this.plot.valToPos(x, 'x') + this.plot.bbox.left / uPlot.pxRatio : 0;
  }

  /**
   * Return the length of some pixels on the x axis.
   * @param {number} pixels
   */
  xLength(pixels) {
    return this.plot ? this.plot.posToVal(pixels, 'x') - this.plot.posToVal(0, 'x') : 0;
  }

  /**
   * Open what is marked near an x value.
   * @param {number | null} x
   */
  openMark(x) {
    const mark = x === null ? undefined : markNear(this.picture, x, this.xLength(MARK_PX));
    if (mark) this.gestures.open(mark);
  }

  /**
   * Zoom around an x value.
   * @param {number | null} x null for the middle
   * @param {number} factor of the visible range: below 1 zooms in
   */
  magnify(x, factor) {
    const { min, max } = this.plot?.scales.x ?? {};
    if (min == null || max == null) return;
    const pivot = x ?? (min + max) / 2;
    this.gestures.zoom(pivot - (pivot - min) * factor, pivot + (max - pivot) * factor);
  }

  /**
   * Show values closer or from further away.
   * @param {number} factor of the visible range: below 1 zooms in
   */
  magnifyValues(factor) {
    const { plot } = this;
    if (!plot) return;
    const half = (plot.over.clientHeight * factor) / 2;
    const middle = plot.over.clientHeight / 2;
    this.gestures.rescale(plot.posToVal(middle + half, 'y'), plot.posToVal(middle - half, 'y'));
  }

  /**
   * Show what is beside the visible range.
   * @param {number} share of the range, below 0 for what is before it
   */
  shift(share) {
    const { min, max } = this.plot?.scales.x ?? {};
    if (min == null || max == null) return;
    const by = (max - min) * share;
    this.gestures.pan(min + by, max + by, true);
  }

  /**
   * Zoom to the range that the pointer has selected: on one axis, or on both.
   * @param {uPlot} plot
   */
  zoomToSelection(plot) {
    const { left, top, width, height } = plot.select;
    const { clientWidth, clientHeight } = plot.over;
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    const isPart = (/** @type {number} */ length, /** @type {number} */ whole) =>
      length >= MIN_SELECTION_PX && length < whole - 1;
    if (isPart(height, clientHeight)) {
      this.gestures.rescale(plot.posToVal(top + height, 'y'), plot.posToVal(top, 'y'));
    }
    if (isPart(width, clientWidth)) this.gestures.zoom(plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x'));
  }

  /**
   * Draw the picture on the plot's canvas.
   * @param {uPlot} plot
   */
  paint({ ctx, bbox, scales: { x, y } }) {
    if (x.min == null || x.max == null || y.min == null || y.max == null) return;
    paintPicture(ctx, bbox, uPlot.pxRatio, [x.min, x.max], [y.min, y.max], this.picture, this.palette.colors);
  }
}
