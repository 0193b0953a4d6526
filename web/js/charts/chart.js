// @ts-check
/**
 * One chart. The only module that creates a uPlot: axes, zoom and crosshair are its own; `paint.js` draws the data.
 */
import uPlot from '../../vendor/uplot.js';
import { axisColumn } from '../data/series.js';
import { plotOptions } from './options.js';
import { paintPicture } from './paint.js';
import { EMPTY_PICTURE } from './picture.js';
import { commandNear } from './readings.js';
import { listenToTouch } from './touch.js';

const MIN_SELECTION_PX = 4;
/** How far from a mark a click still means it. */
const MARK_PX = 5;

export class Chart {
  /**
   * @param {HTMLElement} host
   * @param {import('./colors.js').Palette} palette
   * @param {ChartGestures} gestures
   */
  constructor(host, palette, gestures) {
    this.host = host;
    this.palette = palette;
    this.gestures = gestures;
    this.picture = EMPTY_PICTURE;
    /** @type {uPlot | null} */
    this.plot = null;
    this.axes = '';
    /** @type {number | null} where the pointer is, in pixels from the left edge of the plot */
    this.pointer = null;
    this.stopListening = palette.onChange(() => this.plot?.redraw(false, true));
  }

  destroy() {
    this.stopListening();
    this.plot?.destroy();
    this.plot = null;
  }

  /**
   * Draw a picture. The plot is created again only when its axes change their kind.
   * @param {Picture} picture
   */
  draw(picture) {
    this.picture = picture;
    const axes = `${picture.axis} ${picture.log} ${picture.kind} ${picture.unit.symbol}`;
    if (this.plot && axes !== this.axes) {
      this.plot.destroy();
      this.plot = null;
      this.pointer = null;
    }
    this.axes = axes;
    const main = picture.lines.at(-1)?.series;
    /** @type {any} */
    const data = main ? [axisColumn(main, picture.axis), main.mean.subarray(0, main.n)] : [[], []];
    if (this.plot) this.plot.setData(data);
    else this.plot = new uPlot(plotOptions(this), data, this.host);
    // The axis may have moved below a pointer that rests: what is under it now has another x value.
    if (this.pointer !== null) this.gestures.hover(this.plot.posToVal(this.pointer, 'x'));
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  resize(width, height) {
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
   * Open the command that is marked near an x value.
   * @param {number | null} x
   */
  openMark(x) {
    const command = x === null ? undefined : commandNear(this.picture, x, this.xLength(MARK_PX));
    if (command) this.gestures.open(command);
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
   * Listen to the pointer once the plot exists.
   * @param {uPlot} plot
   */
  listen(plot) {
    const { over } = plot;
    const pixel = (/** @type {{clientX: number}} */ { clientX }) => clientX - over.getBoundingClientRect().left;
    const pointerX = (/** @type {MouseEvent} */ event) => plot.posToVal(pixel(event), 'x');
    const hover = (/** @type {number | null} */ left) => {
      this.pointer = left;
      this.gestures.hover(left === null ? null : plot.posToVal(left, 'x'));
    };
    // A mouse that rests elsewhere leaves the plot again after a tap; what the finger has found stays.
    let isTouched = false;
    over.addEventListener('pointermove', (event) => {
      if (event.pointerType !== 'touch') isTouched = false;
    });
    over.addEventListener('mousemove', (event) => hover(pixel(event)));
    over.addEventListener('mouseleave', () => {
      if (!isTouched) hover(null);
    });
    listenToTouch(over, {
      point: (touch) => {
        isTouched = true;
        const left = pixel(touch);
        plot.setCursor({ left, top: 0 }, false);
        hover(left);
      },
      pinch: (center, factor) => this.magnify(plot.posToVal(center - over.getBoundingClientRect().left, 'x'), factor),
    });
    // A finger that looks for a value would open what it happens to touch.
    over.addEventListener('click', (event) => {
      if (/** @type {PointerEvent} */ (event).pointerType !== 'touch') this.openMark(pointerX(event));
    });
    const zoomWithWheel = (/** @type {WheelEvent} */ event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.magnify(pointerX(event), event.deltaY < 0 ? 0.7 : 1 / 0.7);
    };
    over.addEventListener('wheel', zoomWithWheel, { passive: false });
  }

  /**
   * Zoom to the range that the pointer has selected.
   * @param {uPlot} plot
   */
  zoomToSelection(plot) {
    const { left, width } = plot.select;
    if (width < MIN_SELECTION_PX) return;
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.gestures.zoom(plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x'));
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
