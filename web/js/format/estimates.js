// @ts-check
/** Text for a value with its error. Pure: no document, no state. */
import { nonFiniteText, SUFFIXES, suffixIndex, withMinus } from './numbers.js';
import { formatMetric, shortUnit, unitOf } from './units.js';

const DIGITS = 4;
const ERROR_DIGITS = 2;
/** Below this many of a unit, numbers have exponents. */
const SMALLEST = 1e-4;

/** @param {number} size positive */
const magnitude = (size) => Math.floor(Math.log10(size));

/**
 * Return the unit in which a size is shown: its text, and its length in the unit that the name of a series implies.
 * @param {string} symbol
 * @param {number} size
 * @returns {[text: string, length: number]}
 */
function shownUnit(symbol, size) {
  if (symbol === '%') return [' %', 1];
  if (symbol === 's') {
    const [text, length] = shortUnit(size * 1000);
    return [` ${text}`, length / 1000];
  }
  const power = suffixIndex(size);
  return [symbol ? `${SUFFIXES[power] || ' '}${symbol}` : SUFFIXES[power], 1000 ** power];
}

/**
 * Format a value of a series with its error, both in one unit. The error has two significant digits and the value as
 * many decimals, with at most four digits in all: 12.40 ± 0.30 k.
 * @param {string} key
 * @param {number | string | null} value
 * @param {number | string | null} error null if it is not known
 */
export function formatEstimate(key, value, error) {
  if (value === null || error === null) return formatMetric(key, value);
  const both = `${formatMetric(key, value)} ± ${formatMetric(key, error)}`;
  if (nonFiniteText(value) !== null || nonFiniteText(error) !== null) return both;
  if (Number(error) === 0) return `${formatMetric(key, value)} ± 0`;
  const { symbol, scale } = unitOf(key);
  const [mean, spread] = [Number(value) * scale, Number(error) * scale];
  const size = Math.max(Math.abs(mean), Math.abs(spread));
  const [text, length] = shownUnit(symbol, size);
  if (size / length < SMALLEST) return both;
  const decimals = Math.max(
    0,
    Math.min(ERROR_DIGITS - 1 - magnitude(spread / length), DIGITS - 1 - magnitude(size / length)),
  );
  const digits = (spread / length).toFixed(decimals);
  const shown = Number(digits) === 0 ? `less than ${(10 ** -decimals).toFixed(decimals)}` : digits;
  return `${withMinus((mean / length).toFixed(decimals))} ± ${shown}${text}`;
}
