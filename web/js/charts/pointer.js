// @ts-check
/** What the pointer does on a plot, for the chart whose plot it is at that time. */
/** @import uPlot from '../../vendor/uplot.js' */
import { listenToPan } from './pan.js';

/**
 * Listen to the pointer.
 * @param {uPlot} plot
 * @param {import('./plots.js').Seat} seat
 */
export function listenToPointer(plot, seat) {
  const { over } = plot;
  const pixel = (/** @type {{clientX: number}} */ { clientX }) => clientX - over.getBoundingClientRect().left;
  const pointerX = (/** @type {MouseEvent} */ event) => plot.posToVal(pixel(event), 'x');
  const hover = (/** @type {number | null} */ left) => {
    seat.chart.pointer = left;
    seat.chart.gestures.hover(left === null ? null : plot.posToVal(left, 'x'));
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
  /** @type {import('./touch.js').TouchGestures} */
  const touches = {
    point: (touch) => {
      isTouched = true;
      const left = pixel(touch);
      plot.setCursor({ left, top: 0 }, false);
      hover(left);
    },
    pinch: (center, factor) =>
      seat.chart.magnify(plot.posToVal(center - over.getBoundingClientRect().left, 'x'), factor),
  };
  // Most screens cannot be touched.
  if (navigator.maxTouchPoints > 0) {
    import('./touch.js').then(
      ({ listenToTouch }) => listenToTouch(over, touches),
      () => {},
    );
  }
  listenToPan(plot, (from, to, settled) => seat.chart.gestures.pan(from, to, settled));
  // A finger that looks for a value would open what it happens to touch; with Shift it was the end of a drag.
  over.addEventListener('click', (event) => {
    const isTouch = /** @type {PointerEvent} */ (event).pointerType === 'touch';
    if (!isTouch && !event.shiftKey) seat.chart.openMark(pointerX(event));
  });
  const zoomWithWheel = (/** @type {WheelEvent} */ event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    seat.chart.magnify(pointerX(event), event.deltaY < 0 ? 0.7 : 1 / 0.7);
  };
  over.addEventListener('wheel', zoomWithWheel, { passive: false });
}
