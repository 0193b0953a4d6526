// @ts-check
/** The state of the page, as signals, and its transitions. Knows neither server, document nor charts. */
import { batch, computed, signal } from '../../vendor/ui.js';
import { epochSeconds } from '../format/time.js';
import { DEFAULT_VIEW } from '../routing/view.js';
import { mergePasses } from './filter-passes.js';
import { orderKeys, tableNames } from './series-names.js';

const MAX_EVENTS = 1000;

/**
 * @template T
 * @param {T} value
 * @returns {Signal<T>}
 */
const cell = (value) => signal(value);

export const state = {
  route: cell(/** @type {Route} */ ({ page: 'runs' })),
  view: cell(/** @type {View} */ (DEFAULT_VIEW)),
  /** The server's time in seconds since the epoch, updated once a second. */
  now: cell(0),
  connection: cell(/** @type {ConnectionState} */ ({ up: false, since: 0, ever: false })),
  /** Whether this browser has the control scope. */
  canControl: cell(true),
  /** The person who has signed in with a session, which can be ended; null without one. */
  session: cell(/** @type {string | null} */ (null)),
  /** Text for screen readers: the values under the crosshair. */
  announcement: cell(''),
  load: cell(/** @type {LoadState} */ ('loading')),

  /** What was just done to runs of the list; null when nothing is to be said about it. */
  done: cell(/** @type {Done | null} */ (null)),

  runs: cell(/** @type {Map<string, Run>} */ (new Map())),
  /** Where the next page of the list of runs starts, null after the last. */
  runsCursor: cell(/** @type {string | null} */ (null)),
  /** Names of metrics that the newest runs have. */
  knownMetrics: cell(/** @type {string[]} */ ([])),
  /** Ids in the address that the server does not know. */
  unknownRuns: cell(/** @type {string[]} */ ([])),

  run: cell(/** @type {Run | null} */ (null)),
  metrics: cell(/** @type {Metric[]} */ ([])),
  controls: cell(/** @type {Control[]} */ ([])),
  commands: cell(/** @type {Command[]} */ ([])),
  passes: cell(/** @type {FilterPass[]} */ ([])),
  events: cell(/** @type {RunEvent[]} */ ([])),
  traces: cell(/** @type {Trace[]} */ ([])),
  /** Values requested on this page, by control. */
  requests: cell(/** @type {Record<string, ControlRequest>} */ ({})),
};

const seriesKeys = computed(() => state.metrics.value.map((metric) => metric.key));

/** The names of the run's series, in display order. */
export const orderedKeys = computed(() => orderKeys(seriesKeys.value));

/** The names of the run's hash tables. */
export const tables = computed(() => tableNames(state.passes.value, seriesKeys.value));

/** Reset everything that belongs to one run. */
export function clearRun() {
  batch(() => {
    state.run.value = null;
    state.metrics.value = [];
    state.controls.value = [];
    state.commands.value = [];
    state.passes.value = [];
    state.events.value = [];
    state.traces.value = [];
    state.requests.value = {};
    state.unknownRuns.value = [];
    state.load.value = 'loading';
  });
}

/**
 * Return when a run was created, in seconds since the epoch; 0 for one that is not known.
 * @param {string} id
 */
export function createdAt(id) {
  const open = state.run.peek();
  const run = open?.id === id ? open : state.runs.peek().get(id);
  return run ? epochSeconds(run.created_at) || 0 : 0;
}

/**
 * Add or update runs of the list.
 * @param {readonly Run[]} runs
 * @param {boolean} [replace] whether to remove all other runs
 * @param {(run: Run) => boolean} [belongs] whether a run is in the list; others are removed
 */
export function putRuns(runs, replace = false, belongs = () => true) {
  const map = new Map(replace ? [] : state.runs.value);
  for (const run of runs) {
    if (belongs(run)) map.set(run.id, run);
    else map.delete(run.id);
  }
  state.runs.value = map;
}

/**
 * Remove a deleted run.
 * @param {string} id
 */
export function removeRun(id) {
  const map = new Map(state.runs.value);
  map.delete(id);
  state.runs.value = map;
  if (state.run.value?.id === id) state.load.value = { status: 404, message: 'This run was deleted.' };
}

/**
 * Add an item to a list of the view, or remove it.
 * @param {'folded' | 'picked' | 'hidden' | 'tags'} list
 * @param {string} item
 */
export function toggleItem(list, item) {
  const items = new Set(state.view.value[list]);
  if (!items.delete(item)) items.add(item);
  setView({ [list]: [...items] });
}

/**
 * Return whether two pins name the same chart.
 * @param {readonly string[]} a
 * @param {readonly string[]} b
 */
const samePin = (a, b) => a.length === b.length && a.every((key, i) => key === b[i]);

/** @param {readonly string[]} id */
export const isPinned = (id) => state.view.value.pins.some((pin) => samePin(pin, id));

/**
 * Pin a chart behind those that are pinned, or remove its pin.
 * @param {string[]} id
 */
export function togglePin(id) {
  const others = state.view.value.pins.filter((pin) => !samePin(pin, id));
  setView({ pins: isPinned(id) ? others : [...others, id] });
}

/**
 * Show other series in a pinned chart; a chart that is not pinned stays, and one of the series is pinned.
 * @param {string[]} id
 * @param {string[]} keys
 */
export function combine(id, keys) {
  const { pins } = state.view.value;
  const rest = pins.filter((pin) => !samePin(pin, keys) || samePin(pin, id));
  setView({ pins: isPinned(id) ? rest.map((pin) => (samePin(pin, id) ? keys : pin)) : [...rest, keys] });
}

/**
 * Return a list with an item replaced by id, or put in front when it is new.
 * @template {{id: string}} T
 * @param {T[]} list
 * @param {T} item
 * @returns {T[]}
 */
function put(list, item) {
  const at = list.findIndex((other) => other.id === item.id);
  return at < 0 ? [item, ...list] : list.with(at, item);
}

/** Digits of the ends of a zoomed vertical axis in the address. */
const SCALE_DIGITS = 6;

/**
 * Zoom the vertical axis of a chart.
 * @param {string} chart
 * @param {number} low
 * @param {number} high
 */
export function setScale(chart, low, high) {
  const [from, to] = [low, high].map((value) => Number(value.toPrecision(SCALE_DIGITS)));
  if (!(to > from)) return;
  const others = state.view.value.scales.filter(([name]) => name !== chart);
  setView({ scales: [...others, [chart, from, to]] });
}

/** @param {Command} command */
export function putCommand(command) {
  state.commands.value = put(state.commands.value, command);
}

/** @param {Trace} trace */
export function putTrace(trace) {
  state.traces.value = put(state.traces.value, trace);
}

/** @param {readonly FilterPass[]} passes */
export function addPasses(passes) {
  state.passes.value = mergePasses(state.passes.value, passes);
}

/**
 * Drop the oldest event of the most frequent kind if there are too many.
 * @param {RunEvent[]} events oldest first
 */
function boundEvents(events) {
  if (events.length <= MAX_EVENTS) return events;
  /** @type {Map<string, RunEvent[]>} */
  const kinds = new Map();
  for (const event of events) kinds.get(event.kind)?.push(event) ?? kinds.set(event.kind, [event]);
  const [oldest] = [...kinds.values()].reduce((most, some) => (some.length > most.length ? some : most));
  return events.filter((event) => event !== oldest);
}

/**
 * Add an event, or replace it when it is known: it has occurred again.
 * @param {RunEvent} event
 */
export function addEvent(event) {
  const known = state.events.value;
  const at = known.findIndex((other) => other.id === event.id);
  state.events.value = at < 0 ? boundEvents([...known, event]) : known.with(at, event);
}

/**
 * @param {string} control
 * @param {ControlRequest} request
 */
export function setRequest(control, request) {
  state.requests.value = { ...state.requests.value, [control]: request };
}

/** @param {Partial<View>} change */
export function setView(change) {
  state.view.value = { ...state.view.value, ...change };
}
