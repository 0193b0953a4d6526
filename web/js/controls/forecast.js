// @ts-check
/** What a filter interval would mean for the hash tables, in words. Pure. */
import { formatEstimate } from '../format/estimates.js';

/**
 * @param {string} key implies the unit
 * @param {Estimate} estimate
 */
const text = (key, { value, error }) => formatEstimate(key, value, error);

/**
 * Return the figures of a prediction, each with its label.
 * @param {Prediction} prediction
 * @returns {{label: string, value: string}[]}
 */
export function forecastFigures({ rows_before: before, evicted, rows_after: after, at_most: most, ...cost }) {
  return [
    { label: 'Rows at the next pass', value: text('rows', before) },
    { label: 'Evicted by it', value: text('rows', evicted) },
    { label: 'Rows after it', value: text('rows', after) },
    { label: 'Most rows between later passes', value: text('rows', most) },
    { label: 'Duration of a pass', value: text('pass_ms', cost.pass_ms) },
    { label: 'Cost per step', value: text('step_ms', cost.ms_per_step) },
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
