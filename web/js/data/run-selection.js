// @ts-check
/** The selection of runs in the list. */
import { MAX_ITEMS } from '../routing/view.js';
import { setView, state } from './state.js';

/** The run from which a range extends: the last one that was selected or deselected by itself. */
let anchor = '';

/** @param {Iterable<string>} ids */
function pick(ids) {
  setView({ picked: [...new Set(ids)].slice(0, MAX_ITEMS) });
}

/**
 * Select a run, or deselect it.
 * @param {string} id
 */
export function togglePick(id) {
  const { picked } = state.view.value;
  anchor = id;
  pick(picked.includes(id) ? picked.filter((other) => other !== id) : [...picked, id]);
}

/**
 * Select all runs from the last one that was selected by itself to this one.
 * @param {readonly Run[]} runs in the order of the list
 * @param {string} id
 */
export function pickRange(runs, id) {
  const ids = runs.map((run) => run.id);
  const to = ids.indexOf(id);
  const from = ids.indexOf(anchor);
  if (to < 0) return;
  if (from < 0) anchor = id;
  const [first, last] = from < 0 ? [to, to] : [Math.min(from, to), Math.max(from, to)];
  pick([...state.view.value.picked, ...ids.slice(first, last + 1)]);
}

/** Deselect all runs. */
export function clearPicks() {
  anchor = '';
  pick([]);
}
