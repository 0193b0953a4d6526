// @ts-check
/** Text for numbers with a unit. Pure: no document, no state. */
import { formatCompact, nonFiniteText } from './numbers.js';
import { formatAge } from './time.js';

/**
 * Format bytes in powers of 1000, as the axes do: 6.3 MB.
 * @param {unknown} value
 */
export function formatBytes(value) {
  const text = nonFiniteText(value);
  if (text !== null) return text;
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let size = Number(value);
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/**
 * Format milliseconds in a fitting unit.
 * @param {unknown} value
 */
export function formatDuration(value) {
  const text = nonFiniteText(value);
  if (text !== null) return text;
  const ms = Number(value);
  if (ms < 0.01) return `${Number((ms * 1000).toFixed(1))} µs`;
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  return formatAge(ms / 1000);
}

/**
 * Format a value of a series in the unit that its name implies.
 * @param {string} key
 * @param {unknown} value
 */
export function formatMetric(key, value) {
  if (/(^|[/_])bytes$/.test(key)) return formatBytes(value);
  if (/_us(_p\d+)?$/.test(key)) return nonFiniteText(value) ?? formatDuration(Number(value) / 1000);
  return /_ms$/.test(key) ? formatDuration(value) : formatCompact(value);
}
