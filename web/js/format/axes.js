// @ts-check
/** Tick positions and labels of chart axes. Pure: no document, no state. */
import { formatInteger, SUFFIXES, suffixIndex, withMinus } from './numbers.js';
import { formatDateTime } from './time.js';

/** Suffixes of fractions of a second, by 1000 to the power of minus the index. */
const FRACTIONS = ['', 'm', 'µ', 'n'];
const MAX_SUFFIXED_DIGITS = 3;
const MAX_DIGITS = 15;

/**
 * Return how many digits after the decimal point tell multiples of a gap apart.
 * @param {number} gap
 */
function digitsFor(gap) {
  // Two digits: 0.25 must not make 0.75 to 0.8.
  const unit = Number(gap.toPrecision(2));
  let digits = 0;
  while (digits < MAX_DIGITS && Number(unit.toFixed(digits)) !== unit) digits += 1;
  return digits;
}

/**
 * Group the integer part of a number in threes.
 * @param {string} text
 */
function grouped(text) {
  const [whole, ...fraction] = text.split('.');
  return [formatInteger(Number(whole)).replace(/^0$/, whole), ...fraction].join('.');
}

/**
 * Label the ticks of a linear axis, all with the same suffix and number of digits, so that no two look alike.
 * @param {readonly number[]} ticks
 * @param {Unit} [unit] of the values
 */
export function tickLabels(ticks, { symbol, scale } = { symbol: '', scale: 1 }) {
  const values = ticks.map((tick) => tick * scale);
  const size = Math.max(...values.map(Math.abs), 0);
  const gap = values.length > 1 ? Math.abs(values[1] - values[0]) : size || 1;
  const isTime = symbol === 's';
  if (size !== 0 && ((size < 1e-3 && !isTime) || size < 1e-9 || size >= 1e18)) return exponentLabels(values, size, gap);
  const power = symbol === '%' ? 0 : suffixPower(size, gap, isTime);
  const suffix = power < 0 ? FRACTIONS[-power] : SUFFIXES[power].trim();
  const digits = digitsFor(gap / 1000 ** power);
  const label = (/** @type {number} */ value) => {
    const text = (value / 1000 ** power).toFixed(digits);
    return withMinus(power === 0 && size >= 10_000 ? grouped(text) : text) + suffix + symbol;
  };
  return values.map((value) => (value === 0 ? '0' : label(value)));
}

/**
 * Return the power of 1000 for an axis: one that needs few digits, else none. Time has prefixes below a second only.
 * @param {number} size
 * @param {number} gap
 * @param {boolean} isTime
 */
function suffixPower(size, gap, isTime) {
  let power = isTime ? 0 : suffixIndex(size);
  while (isTime && power > 1 - FRACTIONS.length && size < 0.9995 * 1000 ** power) power -= 1;
  if (power <= 0 || digitsFor(gap / 1000 ** power) <= MAX_SUFFIXED_DIGITS) return power;
  const smaller = power - 1;
  return digitsFor(gap / 1000 ** smaller) <= MAX_SUFFIXED_DIGITS ? smaller : 0;
}

/**
 * @param {readonly number[]} values
 * @param {number} size
 * @param {number} gap
 */
function exponentLabels(values, size, gap) {
  const digits = Math.max(1, digitsFor(Math.min(1, gap / 10 ** Math.floor(Math.log10(size)))));
  return values.map((value) => (value === 0 ? '0' : withMinus(value.toExponential(Math.min(MAX_DIGITS, digits)))));
}

const round = (/** @type {number} */ value) => Number(value.toPrecision(10));

/**
 * Return the ticks of a logarithmic axis: at 1, 2 and 5 times powers of ten, fewer over many decades, and evenly spaced
 * ones within a narrow range.
 * @param {number} low
 * @param {number} high
 * @param {number} [most] how many powers of ten there is room for
 */
export function logTicks(low, high, most = 7) {
  const decades = Math.log10(high / low);
  const every = Math.max(1, Math.ceil(decades / Math.max(1, most - 1)));
  const first = Math.ceil(Math.log10(low) / every - 1e-9) * every;
  const ticks = powers(first, low, high, every, decades > 2 ? [1] : [1, 2, 5]);
  if (ticks.length > 1) return ticks;
  return decades > 2 ? powers(Math.ceil(Math.log10(low) - 1e-9), low, high, every, [1]) : evenTicks(low, high);
}

/**
 * Return multiples of powers of ten between two numbers.
 * @param {number} first the exponent to begin with
 * @param {number} low
 * @param {number} high
 * @param {number} every the distance of exponents
 * @param {readonly number[]} factors
 */
function powers(first, low, high, every, factors) {
  const ticks = [];
  for (let power = first - every; power <= Math.log10(high); power += every) {
    for (const factor of factors) {
      const tick = round(factor * 10 ** power);
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  return ticks;
}

/**
 * @param {number} low
 * @param {number} high
 */
function evenTicks(low, high) {
  const raw = (high - low) / 4;
  const size = 10 ** Math.floor(Math.log10(raw));
  const gap = size * ([1, 2, 5].find((n) => n * size >= raw) ?? 10);
  const ticks = [];
  for (let n = Math.ceil(low / gap - 1e-9); n * gap <= high + gap * 1e-9; n++) ticks.push(round(n * gap));
  return ticks;
}

/**
 * Label the ticks of a logarithmic axis, each by itself.
 * @param {readonly (number | null)[]} ticks
 * @param {Unit} [unit] of the values
 */
export function logTickLabels(ticks, unit) {
  return ticks.map((tick) => {
    if (tick === null) return '';
    if (unit?.symbol) return tickLabels([tick], unit)[0];
    if (tick < 1e-4 || tick >= 1e18) return withMinus(tick.toExponential(0));
    const power = suffixIndex(tick);
    return Number((tick / 1000 ** power).toPrecision(3)) + SUFFIXES[power].trim();
  });
}

/**
 * Label the ticks of a time axis, given in seconds since the epoch.
 * @param {readonly number[]} ticks
 * @param {number} gap between two ticks, in seconds
 */
export function timeTickLabels(ticks, gap) {
  return ticks.map((tick) => {
    const [day, clock] = formatDateTime(tick).split(' ');
    if (gap >= 86400 || clock === '00:00:00') return day.slice(5);
    return gap < 60 ? clock : clock.slice(0, 5);
  });
}

/**
 * Label the ticks of an axis of durations, given in seconds: 0:30, 1:15:00, 2:30, 3 d.
 * @param {readonly number[]} ticks
 * @param {number} gap between two ticks, in seconds
 */
export function durationTickLabels(ticks, gap) {
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
  return ticks.map((tick) => {
    const total = Math.round(Math.abs(tick));
    const sign = tick < 0 ? '−' : '';
    if (gap >= 86_400) return `${sign}${Math.round(total / 86_400)} d`;
    const hours = Math.floor(total / 3600);
    const minutes = Math.floor(total / 60) % 60;
    if (gap >= 60) return `${sign}${hours} h ${two(minutes)}`;
    return `${sign}${hours ? `${hours}:${two(minutes)}` : minutes}:${two(total % 60)}`;
  });
}
