// @ts-check
/** Tick positions and labels of chart axes. Pure: no document, no state. */
import { SUFFIXES, suffixIndex, withMinus } from './numbers.js';
import { formatDateTime } from './time.js';

/**
 * Label the ticks of a linear axis, all with the same suffix and number of digits.
 * @param {readonly number[]} ticks
 */
export function tickLabels(ticks) {
  const size = Math.max(...ticks.map(Math.abs), 0);
  const gap = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : size || 1;
  if (size !== 0 && (size < 1e-3 || size >= 1e18)) {
    return ticks.map((tick) => (tick === 0 ? '0' : withMinus(tick.toExponential(1))));
  }
  const power = suffixIndex(size);
  const unit = Number((gap / 1000 ** power).toPrecision(2)); // two digits: 0.25 must not make 0.75 to 0.8
  let digits = 0;
  while (digits < 6 && Number(unit.toFixed(digits)) !== unit) digits += 1;
  const label = (/** @type {number} */ tick) => (tick / 1000 ** power).toFixed(digits) + SUFFIXES[power].trim();
  return ticks.map((tick) => (tick === 0 ? '0' : withMinus(label(tick))));
}

const round = (/** @type {number} */ value) => Number(value.toPrecision(10));

/**
 * Return the ticks of a logarithmic axis: at 1, 2 and 5 times powers of ten, fewer over many decades, and evenly spaced
 * ones within a narrow range.
 * @param {number} low
 * @param {number} high
 */
export function logTicks(low, high) {
  const decades = Math.log10(high / low);
  const every = Math.max(1, Math.ceil(decades / 6));
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    if (power % every) continue;
    for (const factor of decades > 2 ? [1] : [1, 2, 5]) {
      const tick = round(factor * 10 ** power);
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  return ticks.length > 1 ? ticks : evenTicks(low, high);
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
 */
export function logTickLabels(ticks) {
  return ticks.map((tick) => {
    if (tick === null) return '';
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
