// @ts-check
/** What a filter interval would mean for the hash tables, in words. Pure. */
import { formatCompact, SUFFIXES, suffixIndex, withMinus } from '../format/numbers.js';
import { formatDuration, shortUnit } from '../format/units.js';

const DIGITS = 4;
const ERROR_DIGITS = 2;

/** @typedef {(size: number) => readonly [symbol: string, length: number]} UnitFor of the larger of value and error */

/** @type {UnitFor} */
const countUnit = (size) => [SUFFIXES[suffixIndex(size)], 1000 ** suffixIndex(size)];
/** @type {UnitFor} */
const timeUnit = (ms) => [` ${shortUnit(ms)[0]}`, shortUnit(ms)[1]];

/** @param {number} number positive */
const magnitude = (number) => Math.floor(Math.log10(number));

/**
 * Format an estimate in one unit. The error has two significant digits, and the value as many decimals, at most four
 * digits in all: 12.40 ± 0.30 k.
 * @param {Estimate} estimate
 * @param {(value: number) => string} format without an error
 * @param {UnitFor} unitFor
 */
function estimateText({ value, error }, format, unitFor) {
  if (error === null || !Number.isFinite(value) || !Number.isFinite(error)) return format(value);
  const size = Math.max(Math.abs(value), Math.abs(error));
  if (error === 0 || size === 0) return `${format(value)} ± 0`;
  const [symbol, length] = unitFor(size);
  const wanted = ERROR_DIGITS - 1 - magnitude(error / length);
  const most = DIGITS - 1 - Math.max(0, magnitude(size / length));
  const decimals = Math.max(0, Math.min(wanted, most));
  const text = (error / length).toFixed(decimals);
  const shown = Number(text) === 0 ? `less than ${(10 ** -decimals).toFixed(decimals)}` : text;
  return `${withMinus((value / length).toFixed(decimals))} ± ${shown}${symbol}`;
}

/** @param {Estimate} estimate */
const count = (estimate) => estimateText(estimate, formatCompact, countUnit);
/** @param {Estimate} estimate */
const time = (estimate) => estimateText(estimate, formatDuration, timeUnit);

/**
 * Return the figures of a prediction, each with its label.
 * @param {Prediction} prediction
 * @returns {{label: string, value: string}[]}
 */
export function forecastFigures({ rows_before: before, evicted, rows_after: after, at_most: most, ...cost }) {
  return [
    { label: 'Rows at the next pass', value: count(before) },
    { label: 'Evicted by it', value: count(evicted) },
    { label: 'Rows after it', value: count(after) },
    { label: 'Most rows between later passes', value: count(most) },
    { label: 'Duration of a pass', value: time(cost.pass_ms) },
    { label: 'Cost per step', value: time(cost.ms_per_step) },
  ];
}

/**
 * Return what limits a prediction.
 * @param {Forecast} forecast
 * @returns {string[]}
 */
export function forecastNotes({ message, tables }) {
  /** @type {Map<string, string[]>} */
  const names = new Map();
  for (const { table, message: note } of tables) {
    if (note) names.set(note, [...(names.get(note) ?? []), table]);
  }
  const ofTables = [...names].map(([note, those]) => `${those.join(', ')}: ${note}.`);
  return message ? [message, ...ofTables] : ofTables;
}
