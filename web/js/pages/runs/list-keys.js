// @ts-check
/** The keys of the list of runs: they move from run to run and select. */

import { isTyping } from '../../components/inputs.js';
import { pickRange, togglePick } from '../../data/run-selection.js';
import { shortcuts } from '../../data/settings.js';

/** Frames to wait for a row that is scrolled to. */
const MAX_FRAMES = 10;

/** @returns {HTMLElement | null} the row that has the focus */
const focusedRow = () => /** @type {HTMLElement | null} */ (document.activeElement?.closest('tr[data-run]') ?? null);

/** @param {string} id */
const rowOf = (id) => document.querySelector(`tr[data-run="${CSS.escape(id)}"]`);

/**
 * Focus the link of a run, once its row exists.
 * @param {string} id
 * @param {number} [frames] how many to wait
 */
function focusRun(id, frames = MAX_FRAMES) {
  const row = rowOf(id);
  const link = /** @type {HTMLElement | null | undefined} */ (row?.querySelector('a.name'));
  if (link) {
    link.focus({ preventScroll: true });
    row?.scrollIntoView({ block: 'nearest' });
  } else if (frames > 0) requestAnimationFrame(() => focusRun(id, frames - 1));
}

/**
 * Focus a run of the list, wherever it is.
 * @param {readonly Run[]} runs
 * @param {number} index
 */
function focusIndex(runs, index) {
  const { id } = runs[index];
  if (!rowOf(id)) {
    const body = /** @type {HTMLElement | null} */ (document.querySelector('.grid.runs tbody'));
    const height = /** @type {HTMLElement | null} */ (body?.querySelector('tr[data-run]'))?.offsetHeight ?? 0;
    const top = (body?.getBoundingClientRect().top ?? 0) + scrollY;
    scrollTo(0, top + index * height - innerHeight / 2);
  }
  focusRun(id);
}

/**
 * Follow the keyboard.
 * @param {() => readonly Run[]} list the runs in the order of the list
 * @returns {() => void} stops
 */
export function startListKeys(list) {
  const keydown = (/** @type {KeyboardEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
    const runs = list();
    const id = focusedRow()?.dataset.run ?? '';
    const at = runs.findIndex((run) => run.id === id);
    const to = target(event.key, at, runs.length);
    if (to !== null) {
      focusIndex(runs, to);
      if (event.shiftKey && at >= 0) {
        pickRange(runs, id);
        pickRange(runs, runs[to].id);
      }
    } else if (event.key === 'x' && shortcuts.value && at >= 0) togglePick(id);
    else if (event.key === 'X' && shortcuts.value && at >= 0) pickRange(runs, id);
    else return;
    event.preventDefault();
  };
  addEventListener('keydown', keydown);
  return () => removeEventListener('keydown', keydown);
}

/**
 * Return the index of the run that a key leads to, or null for other keys.
 * @param {string} key
 * @param {number} at the index of the run that has the focus, -1 for none
 * @param {number} count
 * @returns {number | null}
 */
function target(key, at, count) {
  if (count === 0) return null;
  const letter = shortcuts.value ? { j: at + 1, J: at + 1, k: at - 1, K: at - 1 }[key] : undefined;
  // The other keys scroll the page while no run has the focus.
  const arrow = at < 0 ? undefined : { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: count - 1 }[key];
  const to = letter ?? arrow;
  return to === undefined ? null : Math.max(0, Math.min(count - 1, to));
}
