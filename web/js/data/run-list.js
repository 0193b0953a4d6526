// @ts-check
/** The list of runs: loading it page by page, and its search. Knows no document. */
import { metricOf, ROLES } from './headline.js';
import { putRuns, removeRun, state } from './state.js';

const MAX_RUNS = 10_000;
const FIELDS = [
  'project',
  'name',
  'state',
  'created_at',
  'updated_at',
  'ranks',
  'last_step',
  'summary',
  'tags',
  'archived',
];
/** The choice of archived runs, among the states. */
export const ARCHIVED = 'archived';
/** How many of the newest runs are asked for all of their metrics, to learn what there is. */
const SAMPLED_RUNS = 30;
const MAX_METRICS = 100;
const MAX_KNOWN_METRICS = 1000;
const UPDATE_INTERVAL_MS = 500;

/** @type {WeakMap<Run, string>} */
const searchedTexts = new WeakMap();

/**
 * Return what a search looks at: a run's name, project, id and tags.
 * @param {Run} run
 */
function searchedText(run) {
  const known = searchedTexts.get(run);
  if (known !== undefined) return known;
  const text = [run.name, run.project, run.id, ...run.tags].join('\n').toLowerCase();
  searchedTexts.set(run, text);
  return text;
}

/**
 * Return the runs that a view shows: in its state and project, with all of its tags, and with every word of its search
 * in name, project, id or tags.
 * @param {readonly Run[]} runs
 * @param {Pick<View, 'q' | 'state' | 'project' | 'tags'>} view
 */
export function filterRuns(runs, { q, state: chosen, project, tags }) {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const only = chosen === ARCHIVED ? '' : chosen;
  if (words.length === 0 && !only && !project && tags.length === 0) return runs;
  return runs.filter(
    (run) =>
      (!only || run.state === only) &&
      (!project || run.project === project) &&
      tags.every((tag) => run.tags.includes(tag)) &&
      words.every((word) => searchedText(run).includes(word)),
  );
}

/**
 * Return whether a run is in the list that the page shows: one that is archived is only in the list of those.
 * @param {Run} run
 */
function belongs(run) {
  return state.route.value.page !== 'runs' || (run.archived ?? false) === (state.view.value.state === ARCHIVED);
}

/**
 * Return a run of the page with what has changed; what was loaded later stays.
 * @param {Run} changed
 */
function mergeRun(changed) {
  const known = state.runs.value.get(changed.id);
  if (!known) return changed;
  if (known.updated_at > changed.updated_at) return known;
  return { ...known, ...changed, summary: { ...known.summary, ...changed.summary } };
}

export class RunList {
  /** @param {Pick<import('./api.js').ApiClient, 'runs'>} api */
  constructor(api) {
    this.api = api;
    /** @type {Map<string, Run>} changed runs that are not shown yet */
    this.updates = new Map();
    this.timer = 0;
    /** @type {string[]} the metrics that the list asks for */
    this.metrics = [];
  }

  /**
   * Learn from the newest runs which metrics there are, and choose those that the list needs.
   * @param {AbortSignal} [signal]
   */
  async #learnMetrics(signal) {
    const { runs } = await this.api.runs({ limit: SAMPLED_RUNS, fields: 'summary' }, signal);
    const names = runs.map((/** @type {Run} */ run) => Object.keys(run.summary));
    state.knownMetrics.value = [...new Set(names.flat())].sort().slice(0, MAX_KNOWN_METRICS);
    const found = names.flatMap((/** @type {string[]} */ keys) => ROLES.flatMap((role) => metricOf(keys, role) ?? []));
    this.metrics = [...new Set(['loss', 'qps', ...found])].sort();
  }

  /** Return the metrics of the list's columns. */
  #shownMetrics() {
    return [...new Set([...this.metrics, ...state.view.value.metrics])].slice(0, MAX_METRICS);
  }

  /**
   * Return what a page is sent of the runs that change: the list its columns, a comparison every metric.
   * @param {string} page
   */
  followed(page) {
    return { runs: true, fields: FIELDS, ...(page === 'runs' ? { metrics: this.#shownMetrics() } : {}) };
  }

  #query() {
    const archived = state.view.value.state === ARCHIVED;
    return { limit: MAX_RUNS, fields: FIELDS.join(','), metric: this.#shownMetrics(), archived };
  }

  /**
   * Load a page of the list.
   * @param {string | null} cursor where the page starts, null for the first one
   * @param {AbortSignal} [signal]
   */
  async load(cursor, signal) {
    if (cursor === null) await this.#learnMetrics(signal);
    const answer = await this.api.runs({ ...this.#query(), cursor }, signal);
    putRuns(answer.runs, cursor === null);
    state.runsCursor.value = answer.next_cursor;
  }

  /**
   * Load what the search of the current view finds on pages that are not loaded.
   * @param {AbortSignal} [signal]
   */
  async search(signal) {
    const { q, state: chosen, project, tags } = state.view.value;
    const only = chosen === ARCHIVED ? '' : chosen;
    const query = { ...this.#query(), q, state: only, project, tag: tags };
    putRuns((await this.api.runs(query, signal)).runs);
  }

  /**
   * Take what is shown of runs that changed. They are put on the page together, twice a second.
   * @param {readonly Run[]} runs
   */
  update(runs) {
    for (const run of runs) this.updates.set(run.id, run);
    this.timer ||= setTimeout(() => {
      this.timer = 0;
      if (state.route.value.page !== 'run') putRuns([...this.updates.values()].map(mergeRun), false, belongs);
      this.updates.clear();
    }, UPDATE_INTERVAL_MS);
  }

  /** @param {string} id */
  remove(id) {
    this.updates.delete(id);
    removeRun(id);
  }
}
