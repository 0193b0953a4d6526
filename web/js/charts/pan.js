// @ts-check
/** Panning of a plot: by a drag with Shift, or by a drag of its horizontal axis. */
/** @import uPlot from '../../vendor/uplot.js' */
import { followDrag } from './drag.js';

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
    const perPixel = (max - min) / plot.over.clientWidth;
    followDrag(/** @type {HTMLElement} */ (event.currentTarget), event, (now, settled) => {
      const by = now ? (event.clientX - now.clientX) * perPixel : 0;
      pan(min + by, max + by, settled);
    });
  };
  plot.over.addEventListener('pointerdown', start);
  plot.root.querySelector('.u-axis')?.addEventListener('pointerdown', /** @type {EventListener} */ (start));
}
