// @ts-check
/** Text for times and ages. Pure: no document, no state, no clock of its own. */

/**
 * Format a length of time in its largest unit: 1 s, 4 min, 3 h, 12 d.
 * @param {number} seconds
 */
export function formatAge(seconds) {
  const s = Math.max(0, seconds);
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

/**
 * Return the seconds since the epoch of an ISO 8601 string or a number of seconds; NaN for anything else.
 * @param {unknown} value
 */
export function epochSeconds(value) {
  if (typeof value === 'number') return value;
  return typeof value === 'string' ? Date.parse(value) / 1000 : Number.NaN;
}

/**
 * Format a time as local date and time with seconds.
 * @param {unknown} value
 */
export function formatDateTime(value) {
  const time = epochSeconds(value);
  if (Number.isNaN(time)) return '–';
  const date = new Date(time * 1000);
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}
