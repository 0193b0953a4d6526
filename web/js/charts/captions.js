// @ts-check
/** Short texts beside a chart: readings, pauses and values outside of the axis. Pure. */
import { formatInteger } from '../format/numbers.js';
import { formatDateTime } from '../format/time.js';
import { formatDuration, formatMetric } from '../format/units.js';
import { pauseReason } from './picture.js';

/**
 * Format a reading: its mean, and its extremes where it has several values.
 * @param {Reading} reading
 */
export function readingText({ key, value, min, max, count }) {
  const mean = formatMetric(key, value);
  return count > 1 && min !== max ? `${mean}  (${formatMetric(key, min)} to ${formatMetric(key, max)})` : mean;
}

/**
 * Return what the crosshair points at.
 * @param {Axis} axis
 * @param {number} x
 * @param {number} step nearest to it
 */
export function positionText(axis, x, step) {
  if (axis === 'time') return formatDateTime(x);
  return axis === 'relative' ? `${formatDuration(x * 1000)} after the start` : `step ${formatInteger(step)}`;
}

/**
 * Return for how long there is no data, and why when an event tells.
 * @param {TimeSpan} pause
 * @param {readonly RunEvent[]} events
 * @param {number} origin of the horizontal axis, in seconds since the epoch
 */
export function pauseText(pause, events, origin = 0) {
  const reason = pauseReason([pause[0] + origin, pause[1] + origin], events);
  return `No data for ${formatDuration((pause[1] - pause[0]) * 1000)}${reason && `: ${reason}`}`;
}

/**
 * Return how many buckets lie outside of the vertical axis, or an empty string.
 * @param {{above: number, below: number}} counts
 */
export function outsideText({ above, below }) {
  const parts = [above && `${formatInteger(above)} above`, below && `${formatInteger(below)} below`];
  return parts.filter(Boolean).join(', ');
}
