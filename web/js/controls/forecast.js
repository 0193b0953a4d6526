// @ts-check
/** What a filter interval would mean for the hash tables, in words. Pure. */
import { formatCompact } from '../format/numbers.js';
import { formatDuration } from '../format/units.js';

/**
 * @param {Estimate} estimate
 * @param {(value: number) => string} format
 */
const text = ({ value, error }, format) => `${format(value)}${error === null ? '' : ` ± ${format(error)}`}`;

/**
 * Return the figures of a prediction, each with its label.
 * @param {Prediction} prediction
 * @returns {{label: string, value: string}[]}
 */
export function forecastFigures({ rows_before: before, evicted, rows_after: after, at_most: most, ...cost }) {
  return [
    { label: 'Rows at the next pass', value: text(before, formatCompact) },
    { label: 'Evicted by it', value: text(evicted, formatCompact) },
    { label: 'Rows after it', value: text(after, formatCompact) },
    { label: 'Most rows between later passes', value: text(most, formatCompact) },
    { label: 'Duration of a pass', value: text(cost.pass_ms, formatDuration) },
    { label: 'Cost per step', value: text(cost.ms_per_step, formatDuration) },
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
