// @ts-check
/** The list of runs: loading it page by page, its order and its search. Knows no document. */
import { putRuns, removeRun, state } from './state.js';

const QUERY = {
  limit: 10_000,
  fields: 'project,name,state,created_at,updated_at,ranks,last_step,summary,tags',
  metric: ['loss', 'qps'],
};
const UPDATE_INTERVAL_MS = 500;

/**
 * Order running runs before others, and newer ones before older ones.
 * @param {Run} a
 * @param {Run} b
 */
export function compareRuns(a, b) {
  const running = Number(b.state === 'running') - Number(a.state === 'running');
  return running || Number(a.created_at < b.created_at) - Number(a.created_at > b.created_at);
}

/**
 * Return the runs in one state (any when empty) that contain every word of a text in name, project, id or tags.
 * @param {readonly Run[]} runs
 * @param {string} text
 * @param {string} only
 */
export function filterRuns(runs, text, only) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return runs.filter((run) => {
    if (only && run.state !== only) return false;
    const searched = [run.name, run.project, run.id, ...run.tags].join('\n').toLowerCase();
    return words.every((word) => searched.includes(word));
  });
}

export class RunList {
  /** @param {Pick<import('./api.js').ApiClient, 'runs'>} api */
  constructor(api) {
    this.api = api;
    /** @type {Map<string, Run>} pushed runs that are not shown yet */
    this.updates = new Map();
    this.timer = 0;
  }

  /**
   * Load a page of the list.
   * @param {string | null} cursor where the page starts, null for the first one
   * @param {AbortSignal} [signal]
   */
  async load(cursor, signal) {
    const answer = await this.api.runs({ ...QUERY, cursor }, signal);
    putRuns(answer.runs, cursor === null);
    state.runsCursor.value = answer.next_cursor;
  }

  /**
   * Load what the search of the current view finds on pages that are not loaded.
   * @param {AbortSignal} [signal]
   */
  async search(signal) {
    const { q, state: only } = state.view.value;
    putRuns((await this.api.runs({ ...QUERY, q, state: only }, signal)).runs);
  }

  /**
   * Take a pushed run. Pushed runs are shown together, twice a second: a thousand may change in a second.
   * @param {Run} run
   */
  update(run) {
    this.updates.set(run.id, run);
    this.timer ||= setTimeout(() => {
      this.timer = 0;
      if (state.route.value.page !== 'run') putRuns([...this.updates.values()]);
      this.updates.clear();
    }, UPDATE_INTERVAL_MS);
  }

  /** @param {string} id */
  remove(id) {
    this.updates.delete(id);
    removeRun(id);
  }
}
