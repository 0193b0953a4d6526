// @ts-check
/** What a command has changed: the old and the new value of each control, and how it ended on each rank. Pure. */
import { formatRanks } from '../format/ranks.js';
import { rankText } from './outcome.js';

/** @typedef {{name: string, before: unknown, after: unknown}} Change `before` is undefined while it is not known */

/**
 * Return the controls of a command, each with the value before on the lowest rank that has applied it.
 * @param {Command} command
 * @returns {Change[]}
 */
export function changesOf({ control, value, values, ranks }) {
  const applied = Object.values(ranks).find((rank) => rank.state === 'applied');
  if (control !== null) return [{ name: control, before: applied?.old, after: value }];
  const old = /** @type {Record<string, unknown> | undefined} */ (applied?.old);
  return Object.entries(values).map(([name, after]) => ({ name, before: old?.[name], after }));
}

/**
 * Return whether a rank has applied a command.
 * @param {Command} command
 */
export const isApplied = ({ ranks }) => Object.values(ranks).some((rank) => rank.state === 'applied');

/**
 * Return whether the values before a command can be asked for again.
 * @param {Command} command
 * @param {readonly Control[]} controls of the run
 */
export function canRevert(command, controls) {
  if (command.state !== 'applied') return false;
  const names = new Set(changesOf(command).map((change) => change.name));
  const known = controls.filter((control) => names.has(control.name));
  return known.length === names.size && known.every(({ type }) => type !== 'action' && type !== 'profile');
}

/**
 * Return how a command ended on each rank, ranks with the same outcome together: "ranks 0 and 1: applied at step 512".
 * @param {Command} command
 * @returns {string[]}
 */
export function outcomesByRank({ ranks }) {
  /** @type {Map<string, string[]>} */
  const byText = new Map();
  for (const [rank, outcome] of Object.entries(ranks)) {
    const text = rankText(outcome);
    byText.set(text, [...(byText.get(text) ?? []), rank]);
  }
  return [...byText].map(([text, named]) => `${formatRanks(named)}: ${text}`);
}
