// @ts-check
/** Panning of a plot: by a drag with Shift, or by a drag of its horizontal axis. */
/** @import uPlot from '../../vendor/uplot.js' */

/** @typedef {(from: number, to: number, settled: boolean) => void} Pan `settled` with the end of the drag */

/**
 * Call `pan` while a plot is dragged sideways.
 * @param {uPlot} plot
 * @param {Pan} pan
 */
export function listenToPan(plot, pan) {
  const start = (/** @type {PointerEvent} */ event) => {
    const { min, max } = plot.scales.x;
    if (event.button !== 0 || min == null || max == null) return;
    if (event.currentTarget === plot.over && !event.shiftKey) return;
    const element = /** @type {HTMLElement} */ (event.currentTarget);
    const perPixel = (max - min) / plot.over.clientWidth;
    const shift = (/** @type {PointerEvent} */ now) => (event.clientX - now.clientX) * perPixel;
    const move = (/** @type {PointerEvent} */ now) => pan(min + shift(now), max + shift(now), false);
    const end = (/** @type {PointerEvent} */ now) => {
      element.removeEventListener('pointermove', move);
      element.removeEventListener('pointerup', end);
      element.removeEventListener('pointercancel', end);
      const by = now.type === 'pointerup' ? shift(now) : 0;
      pan(min + by, max + by, true);
    };
    element.setPointerCapture(event.pointerId);
    element.addEventListener('pointermove', move);
    element.addEventListener('pointerup', end);
    element.addEventListener('pointercancel', end);
  };
  plot.over.addEventListener('pointerdown', start);
  plot.root.querySelector('.u-axis')?.addEventListener('pointerdown', /** @type {EventListener} */ (start));
}
