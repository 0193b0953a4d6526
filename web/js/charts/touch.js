// @ts-check
/** Touch on a plot: one finger moves the crosshair sideways and scrolls the page up and down, two fingers zoom. */

/** A pinch below this change of distance is none. */
const MIN_PINCH = 0.1;

/**
 * @typedef {object} TouchGestures
 * @property {(touch: {clientX: number}) => void} point
 * @property {(center: number, factor: number) => void} pinch `factor` is below 1 for fingers that move apart
 */

/** @param {TouchEvent} event */
const fingers = ({ touches: [first, second] }) => ({
  distance: Math.max(1, Math.hypot(first.clientX - second.clientX, first.clientY - second.clientY)),
  center: (first.clientX + second.clientX) / 2,
});

/**
 * Call gestures for touches of an element, whose style must leave sideways panning and pinching to the page.
 * @param {HTMLElement} element
 * @param {TouchGestures} gestures
 */
export function listenToTouch(element, { point, pinch }) {
  /** @type {{distance: number, center: number} | null} */
  let start = null;
  let factor = 1;
  const touched = (/** @type {TouchEvent} */ event) => {
    if (event.touches.length === 1 && !start) point(event.touches[0]);
    if (event.touches.length !== 2) return;
    event.preventDefault();
    start ??= fingers(event);
    factor = start.distance / fingers(event).distance;
  };
  const ended = (/** @type {TouchEvent} */ event) => {
    if (event.touches.length > 0 || !start) return;
    if (Math.abs(factor - 1) > MIN_PINCH) pinch(start.center, factor);
    start = null;
    factor = 1;
  };
  element.addEventListener('touchstart', touched, { passive: false });
  element.addEventListener('touchmove', touched, { passive: false });
  element.addEventListener('touchend', ended);
  element.addEventListener('touchcancel', ended);
}
