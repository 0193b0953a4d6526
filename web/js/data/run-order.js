// @ts-check
/** The order of the list of runs. Pure. */
import { metricOf, ROLES } from './headline.js';

/** What precedes the name of a metric in the name of its column. */
export const METRIC = 'metric:';

/** @typedef {(run: Run) => number | string | null} SortValue null for a run without the value */

/** @type {Record<string, SortValue>} */
const COLUMNS = {
  state: (run) => run.state,
  name: (run) => (run.name || run.id).toLowerCase(),
  project: (run) => run.project.toLowerCase(),
  step: (run) => run.last_step,
  ranks: (run) => run.ranks.length,
  updated: (run) => run.updated_at,
  created: (run) => run.created_at,
};

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
 * Return the metric of a run in a column: that of a role, or the one that the column names.
 * @param {string} column
 * @param {Run} run
 */
export function columnMetric(column, run) {
  const role = ROLES.find((one) => one === column);
  return role ? metricOf(Object.keys(run.summary), role) : column.slice(METRIC.length);
}

/**
 * @param {string} column
 * @returns {SortValue}
 */
function sortValue(column) {
  if (COLUMNS[column]) return COLUMNS[column];
  return (run) => {
    const metric = columnMetric(column, run);
    const value = metric === undefined ? undefined : run.summary[metric];
    // Infinities are ordered as such; NaN is no value.
    const number = Number(value ?? Number.NaN);
    return Number.isNaN(number) ? null : number;
  };
}

/**
 * Return runs ordered by a column; those without a value come last, ties are in the usual order.
 * @param {readonly Run[]} runs
 * @param {string} sort name of the column, after a minus for descending order
 * @returns {readonly Run[]}
 */
function orderBy(runs, sort) {
  const direction = sort.startsWith('-') ? -1 : 1;
  const read = sortValue(sort.replace(/^-/, ''));
  const rows = runs.map((run) => ({ run, value: read(run) }));
  rows.sort((a, b) => {
    if (a.value === null || b.value === null) return Number(a.value === null) - Number(b.value === null);
    return direction * (Number(a.value > b.value) - Number(a.value < b.value)) || compareRuns(a.run, b.run);
  });
  return rows.map(({ run }) => run);
}

/**
 * Return runs in their order, given the same runs before some of them changed: most keep their place in the usual
 * order.
 * @param {readonly Run[]} before in order
 * @param {ReadonlyMap<string, Run>} runs
 * @param {string} [sort] name of the column, after a minus for descending order; empty for the usual order
 * @returns {readonly Run[]} in order
 */
export function sortRuns(before, runs, sort = '') {
  if (sort) return orderBy([...runs.values()], sort);
  if (before.length !== runs.size) return [...runs.values()].sort(compareRuns);
  let moved = false;
  const next = before.map((run) => {
    const now = runs.get(run.id) ?? run;
    moved ||= now.state !== run.state || now.created_at !== run.created_at || !runs.has(run.id);
    return now;
  });
  return moved ? [...runs.values()].sort(compareRuns) : next;
}
