// @ts-check
/** Predicts the effect of a filter interval before it is applied. Pure. */
import { formatInteger } from '../format/numbers.js';

/**
 * Return what a new filter interval would change.
 * @param {number | null} current interval in steps, null for off
 * @param {number | null} next the new one
 * @param {number | undefined} lastPass step of the last filter pass, undefined before the first
 * @param {number} step the run's last step
 */
export function filterEffect(current, next, lastPass, step) {
  if (next === current) return 'No change: this is the current value.';
  if (next === null) return 'Filtering stops: no more rows are evicted, and tables only grow.';
  const every = `every ${formatInteger(next)} steps`;
  if (lastPass === undefined) return `One pass ${every}.`;
  const first = formatInteger(Math.max(lastPass + next, step + 1));
  const instead = current === null ? '' : ` instead of ${formatInteger(lastPass + current)}`;
  return `Next pass at step ${first}${instead}, then ${every}.`;
}
