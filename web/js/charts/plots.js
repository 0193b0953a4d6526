// @ts-check
/**
 * Plots without a chart. To create one takes several times as long as to draw it: a chart that is scrolled out of sight
 * leaves its plot to the next one with the same kind of axes. Pure.
 */
/** @import uPlot from '../../vendor/uplot.js' */

/** @typedef {{plot: uPlot, chart: import('./chart.js').Chart}} Seat whose plot it is */

/** So many plots are kept; others are destroyed. */
const MAX_IDLE = 40;

export class PlotPool {
  constructor() {
    /** @type {{axes: string, seat: Seat}[]} */
    this.idle = [];
  }

  /**
   * Take a plot with a kind of axes, if there is one.
   * @param {string} axes
   * @returns {Seat | undefined}
   */
  take(axes) {
    const at = this.idle.findLastIndex((one) => one.axes === axes);
    return at < 0 ? undefined : this.idle.splice(at, 1)[0].seat;
  }

  /**
   * Keep a plot for other charts.
   * @param {string} axes
   * @param {Seat} seat
   */
  give(axes, seat) {
    seat.plot.root.remove();
    this.idle.push({ axes, seat });
    if (this.idle.length > MAX_IDLE) this.idle.shift()?.seat.plot.destroy();
  }
}
