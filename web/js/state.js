// @ts-check
/** The one state of the page, as signals, and the transitions on it. Must not know the server, the document or charts. */
import { batch, computed, signal } from '../vendor/ui.js';
import { DEFAULT_VIEW } from './router.js';

const MOST_PASSES = 4000;
const MOST_EVENTS = 1000;

/** @template T @param {T} value @returns {Signal<T>} */
const cell = (value) => signal(value);

export const state = {
  route: cell(/** @type {Route} */ ({ page: 'runs' })),
  view: cell(/** @type {View} */ (DEFAULT_VIEW)),
  /** Seconds since the epoch by the server's clock, once a second. */
  now: cell(0),
  link: cell(/** @type {{up: boolean, since: number, ever: boolean}} */ ({ up: false, since: 0, ever: false })),
  mayControl: cell(true),
  paused: cell(false),
  /** The step under the crosshair, read out to those who cannot see it. */
  spoken: cell(''),
  runs: cell(/** @type {Map<string, Run>} */ (new Map())),
  runsNext: cell(/** @type {string | null} */ (null)),
  /** 'loading', 'ready', or what went wrong. */
  load: cell(/** @type {'loading' | 'ready' | {status: number, message: string}} */ ('loading')),
  run: cell(/** @type {Run | null} */ (null)),
  metrics: cell(/** @type {Metric[]} */ ([])),
  controls: cell(/** @type {Control[]} */ ([])),
  commands: cell(/** @type {Command[]} */ ([])),
  passes: cell(/** @type {Pass[]} */ ([])),
  events: cell(/** @type {RunEvent[]} */ ([])),
  traces: cell(/** @type {Trace[]} */ ([])),
  attempts: cell(/** @type {Record<string, Attempt>} */ ({})),
};

/** The run's series names with the pinned ones first and the monitor's own last. */
export const orderedKeys = computed(() => orderKeys(state.metrics.value.map((m) => m.key)));

const PINNED = ['loss', 'qps', 'samples_per_second'];

/** @param {readonly string[]} keys */
export function orderKeys(keys) {
  const place = (/** @type {string} */ key) => {
    const pin = PINNED.indexOf(key);
    if (pin >= 0) return pin;
    if (key.startsWith('monitor/')) return 1000;
    return key.includes('/') ? 200 : 100;
  };
  return [...keys].sort((a, b) => place(a) - place(b) || a.localeCompare(b, 'en', { numeric: true }));
}

/** Starts a run's page empty. */
export function clearRun() {
  batch(() => {
    state.run.value = null;
    state.metrics.value = [];
    state.controls.value = [];
    state.commands.value = [];
    state.passes.value = [];
    state.events.value = [];
    state.traces.value = [];
    state.attempts.value = {};
    state.paused.value = false;
    state.load.value = 'loading';
  });
}

/** Puts runs into the list, newest content wins. @param {readonly Run[]} runs @param {boolean} [fresh] without those that were there */
export function putRuns(runs, fresh = false) {
  const map = new Map(fresh ? [] : state.runs.value);
  for (const run of runs) map.set(run.id, run);
  state.runs.value = map;
}

/** @param {string} id */
export function dropRun(id) {
  const map = new Map(state.runs.value);
  map.delete(id);
  state.runs.value = map;
  if (state.run.value?.id === id) state.load.value = { status: 404, message: 'This run was deleted.' };
}

/** @template {{id: string}} T @param {T[]} list @param {T} item @returns {T[]} the list with the item first or in its old place */
function put(list, item) {
  const at = list.findIndex((other) => other.id === item.id);
  return at < 0 ? [item, ...list] : list.with(at, item);
}

export const putCommand = (/** @type {Command} */ command) => (state.commands.value = put(state.commands.value, command));
export const putTrace = (/** @type {Trace} */ trace) => (state.traces.value = put(state.traces.value, trace));

const passId = (/** @type {Pass} */ p) => `${p.rank} ${p.step} ${p.table}`;

/** Adds passes in step order; one that is known already is replaced. @param {readonly Pass[]} passes */
export function addPasses(passes) {
  const map = new Map(state.passes.value.map((p) => [passId(p), p]));
  for (const pass of passes) map.set(passId(pass), pass);
  state.passes.value = [...map.values()].sort((a, b) => a.step - b.step).slice(-MOST_PASSES);
}

/** Adds an event; one that is known already is replaced: it has happened again. @param {RunEvent} event */
export function addEvent(event) {
  const known = state.events.value;
  const at = known.findIndex((other) => other.id === event.id);
  state.events.value = at < 0 ? [...known, event].slice(-MOST_EVENTS) : known.with(at, event);
}

/** @param {string} control @param {Attempt} attempt */
export function setAttempt(control, attempt) {
  state.attempts.value = { ...state.attempts.value, [control]: attempt };
}

/** @param {Partial<View>} change */
export function setView(change) {
  state.view.value = { ...state.view.value, ...change };
}

/** Names of the hash tables, from the passes and from the series `table/NAME/rows`. */
export const tables = computed(() => {
  const names = new Set(state.passes.value.map((p) => p.table));
  for (const { key } of state.metrics.value) {
    const match = /^table\/(.+)\/rows$/.exec(key);
    if (match) names.add(match[1]);
  }
  return [...names].sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
});
