// @ts-check
/** Changes of several runs at once, each with its undo. Knows no document. */
import { pluralize } from '../format/numbers.js';
import { state } from './state.js';

/** How long a deleted run can be restored. */
const GRACE_S = 600;
const MAX_REQUESTS = 6;
const MAX_FAILURES = 3;

/**
 * Call an action for each item, a few at a time; return the items that succeeded, with their results, and the messages
 * of the others.
 * @template T, R
 * @param {readonly T[]} items
 * @param {(item: T) => Promise<R>} action
 */
async function each(items, action) {
  /** @type {[T, R][]} */
  const succeeded = [];
  /** @type {string[]} */
  const failures = [];
  const waiting = [...items];
  const work = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
      try {
        succeeded.push([item, await action(item)]);
      } catch (error) {
        failures.push(/** @type {Error} */ (error).message);
      }
    }
  };
  await Promise.all(Array.from({ length: MAX_REQUESTS }, work));
  return { succeeded, failures };
}

/**
 * Say what was done; once the undo has been used, or something else was done, it is gone.
 * @param {string} text
 * @param {readonly string[]} failures
 * @param {(() => Promise<void>) | null} undo
 */
function report(text, failures, undo) {
  const left = failures.length - MAX_FAILURES;
  const shown = [...failures.slice(0, MAX_FAILURES), ...(left > 0 ? [`and ${left} more`] : [])];
  state.done.value = { text, failures: shown, undo };
}

export class RunActions {
  /**
   * @param {Pick<import('./api.js').ApiClient, 'updateRun' | 'deleteRun' | 'restoreRun'>} api
   * @param {Pick<import('./run-list.js').RunList, 'update' | 'remove'>} runList
   */
  constructor(api, runList) {
    this.api = api;
    this.runList = runList;
  }

  /**
   * Change runs.
   * @param {readonly Run[]} runs
   * @param {string} verb what is done to them, in the past tense
   * @param {(run: Run) => RunChange} changeOf
   */
  async change(runs, verb, changeOf) {
    const { succeeded, failures } = await each(runs, (run) => this.api.updateRun(run.id, changeOf(run)));
    this.runList.update(succeeded.map(([, run]) => run));
    const before = succeeded.map(([run]) => run);
    const undo = async () => {
      await this.change(before, 'Restored', (run) => membersOf(run, changeOf(run)));
      if (state.done.value) state.done.value = { ...state.done.value, undo: null };
    };
    report(`${verb} ${pluralize(succeeded.length, 'run')}.`, failures, before.length ? undo : null);
  }

  /**
   * Delete runs.
   * @param {readonly Run[]} runs
   */
  async remove(runs) {
    const { succeeded, failures } = await each(runs, (run) => this.api.deleteRun(run.id, GRACE_S));
    const deleted = succeeded.map(([run]) => run);
    for (const { id } of deleted) this.runList.remove(id);
    const text = `Deleted ${pluralize(deleted.length, 'run')}. The data is kept for ${GRACE_S / 60} minutes.`;
    report(text, failures, deleted.length ? () => this.#restore(deleted) : null);
  }

  /** @param {readonly Run[]} runs */
  async #restore(runs) {
    const { succeeded, failures } = await each(runs, (run) => this.api.restoreRun(run.id));
    this.runList.update(succeeded.map(([, run]) => run));
    report(`Restored ${pluralize(succeeded.length, 'run')}.`, failures, null);
  }
}

/**
 * Return the members of a run that a change has.
 * @param {Run} run
 * @param {RunChange} change
 * @returns {RunChange}
 */
function membersOf(run, change) {
  return Object.fromEntries(Object.keys(change).map((name) => [name, run[/** @type {keyof RunChange} */ (name)]]));
}
