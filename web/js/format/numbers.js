// @ts-check
/** Text for plain numbers. Pure: no document, no state. */

/** SI suffixes of 1000 to the power of the index. */
export const SUFFIXES = ['', ' k', ' M', ' G', ' T', ' P'];
const NARROW_SPACE = '\u202f';

/**
 * Return the text of a value that is not a finite number, or null when it is one.
 * @param {unknown} value
 * @returns {string | null}
 */
export function nonFiniteText(value) {
  if (value === null || value === undefined) return '–';
  const number = Number(value);
  if (Number.isNaN(number)) return 'NaN';
  if (!Number.isFinite(number)) return number > 0 ? '∞' : '−∞';
  return null;
}

/**
 * Replace ASCII hyphens by minus signs, but not in exponents.
 * @param {string} text
 */
export const withMinus = (text) => text.replace('-', '−').replace('e−', 'e-').replace('e+', 'e');

/**
 * Return the index of the SI suffix for a magnitude.
 * @param {number} size
 */
export function suffixIndex(size) {
  return size < 1000 ? 0 : Math.min(SUFFIXES.length - 1, Math.floor(Math.log10(size) / 3));
}

/**
 * Format with three to four significant digits and an SI suffix: 0.4312, 12.30, 208 k.
 * @param {unknown} value
 */
export function formatCompact(value) {
  const text = nonFiniteText(value);
  if (text !== null) return text;
  const number = Number(value);
  const size = Math.abs(number);
  if (size === 0) return '0';
  if (size < 1e-4 || size >= 1e18) return withMinus(number.toExponential(2));
  if (size < 1e-2) return withMinus(String(Number(number.toPrecision(3))));
  if (size < 1) return withMinus(number.toPrecision(4));
  let power = suffixIndex(size);
  const rounded = Number((size / 1000 ** power).toPrecision(power ? 3 : 4));
  if (rounded >= 1000 && power < SUFFIXES.length - 1) power += 1;
  if (power === 0 && Number.isInteger(number)) return withMinus(String(number));
  return withMinus((number / 1000 ** power).toPrecision(power ? 3 : 4)) + SUFFIXES[power];
}

/**
 * Format a rounded integer in groups of three digits: 1 204 331.
 * @param {unknown} value
 */
export function formatInteger(value) {
  const text = nonFiniteText(value);
  if (text !== null) return text;
  return withMinus(String(Math.round(Number(value))).replace(/\B(?=(\d{3})+(?!\d))/g, NARROW_SPACE));
}

/**
 * Format with all digits, for tooltips.
 * @param {unknown} value
 */
export function formatExact(value) {
  const text = nonFiniteText(value);
  if (text !== null) return text;
  const number = Number(value);
  return Number.isInteger(number) ? formatInteger(number) : withMinus(String(number));
}

/**
 * Format a fraction as a percentage with two significant digits: 0.031 %.
 * @param {unknown} value
 */
export function formatPercent(value) {
  const text = nonFiniteText(value);
  if (text !== null) return text;
  const share = Number(value) * 100;
  if (share > 0 && share < 0.001) return '< 0.001 %';
  return `${withMinus(String(Number(share.toPrecision(2))))} %`;
}

/**
 * Return a count with its noun: "1 run", "2 runs".
 * @param {number} count
 * @param {string} singular
 * @param {string} [plural]
 */
export function pluralize(count, singular, plural = `${singular}s`) {
  return `${formatInteger(count)} ${count === 1 ? singular : plural}`;
}
