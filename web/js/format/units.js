// @ts-check
/** Units of metrics, and text for numbers with a unit. Pure: no document, no state. */
import { formatCompact, nonFiniteText, withMinus } from './numbers.js';

/** @type {Unit} */
export const NO_UNIT = { symbol: '', scale: 1 };

/** @type {readonly [RegExp, Unit][]} */
const UNITS = [
  [/(^|[/_])bytes$/, { symbol: 'B', scale: 1 }],
  [/(^|[/_])bytes_per_s(ec|econd)?$/, { symbol: 'B/s', scale: 1 }],
  [/_us(_p\d+)?$/, { symbol: 's', scale: 1e-6 }],
  [/(_ms|(^|[/_])milliseconds)(_p\d+)?$/, { symbol: 's', scale: 1e-3 }],
  [/(^|[/_])(?<!per_)(s|sec|seconds)(_p\d+)?$/, { symbol: 's', scale: 1 }],
  [/(^|[/_])watts$/, { symbol: 'W', scale: 1 }],
  [/(^|[/_])celsius$/, { symbol: '°C', scale: 1 }],
  [/(^|[/_])(percent|pct)$/, { symbol: '%', scale: 1 }],
  [/(^|[/_])time_share$/, { symbol: '%', scale: 100 }],
];

/**
 * Return the unit that the name of a series implies.
 * @param {string} key
 * @returns {Unit}
 */
export const unitOf = (key) => UNITS.find(([pattern]) => pattern.test(key))?.[1] ?? NO_UNIT;

/**
 * Return the unit that all of some series have, or none.
 * @param {readonly string[]} keys
 * @returns {Unit}
 */
export function commonUnit(keys) {
  const [first = NO_UNIT, ...others] = keys.map(unitOf);
  return others.every(({ symbol, scale }) => symbol === first.symbol && scale === first.scale) ? first : NO_UNIT;
}

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

/** Units of time below a minute, with their length in milliseconds. */
const SHORT_UNITS = /** @type {const} */ ([
  ['s', 1000],
  ['ms', 1],
  ['µs', 1e-3],
  ['ns', 1e-6],
]);

/**
 * Return the unit in which a time below a minute is shown.
 * @param {number} ms
 */
export const shortUnit = (ms) => SHORT_UNITS.find(([, unit]) => ms >= unit * 0.9995) ?? SHORT_UNITS[3];

/**
 * Format milliseconds with three significant digits below a minute, in two units above: 12.2 ms, 2.00 s, 3 min 20 s.
 * @param {unknown} value
 * @returns {string}
 */
export function formatDuration(value) {
  const text = nonFiniteText(value);
  if (text !== null) return text;
  const ms = Number(value);
  if (ms === 0) return '0 s';
  if (ms < 0) return `−${formatDuration(-ms)}`;
  if (ms >= 59_950) return longDuration(Math.round(ms / 1000));
  const [symbol, length] = shortUnit(ms);
  return `${(ms / length).toPrecision(3)} ${symbol}`;
}

/** @param {number} seconds */
function longDuration(seconds) {
  const days = Math.floor(seconds / 86_400);
  const hours = Math.floor(seconds / 3600) % 24;
  const minutes = Math.floor(seconds / 60) % 60;
  if (days) return `${days} d ${hours} h`;
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${seconds % 60} s`;
}

/**
 * Format a value of a series in the unit that its name implies.
 * @param {string} key
 * @param {unknown} value
 */
export function formatMetric(key, value) {
  const { symbol, scale } = unitOf(key);
  const text = nonFiniteText(value);
  if (text !== null || symbol === '') return text ?? formatCompact(value);
  const number = Number(value) * scale;
  if (symbol === 's') return formatDuration(number * 1000);
  if (symbol === '%') return `${withMinus(String(Number(number.toPrecision(3))))} %`;
  if (!symbol.startsWith('B')) return `${formatCompact(number)} ${symbol}`;
  const size = number < 0 ? `−${formatBytes(-number)}` : formatBytes(number);
  return symbol === 'B' ? size : `${size}/s`;
}
