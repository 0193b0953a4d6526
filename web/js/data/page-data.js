// @ts-check
/** Loads what a page shows into the state. */
import { batch } from '../../vendor/ui.js';
import { RequestError } from './api.js';
import { addPasses, putRuns, state } from './state.js';

/**
 * Load the runs of a comparison; one that does not exist leaves the others as they are.
 * @param {import('./api.js').ApiClient} api
 * @param {string[]} ids
 * @param {AbortSignal} signal
 */
export async function loadCompared(api, ids, signal) {
  /** @type {string[]} */
  const unknown = [];
  const load = async (/** @type {string} */ id) => {
    try {
      return [await api.run(id, signal)];
    } catch (error) {
      if (!(error instanceof RequestError) || error.status !== 404) throw error;
      unknown.push(id);
      return [];
    }
  };
  const runs = await Promise.all(ids.map(load));
  batch(() => {
    putRuns(runs.flat(), true);
    state.unknownRuns.value = unknown;
  });
}

/**
 * Load a run and all its lists.
 * @param {import('./api.js').ApiClient} api
 * @param {string} id
 * @param {AbortSignal} signal
 */
export async function loadRun(api, id, signal) {
  // First and alone: an unknown run is one failed request, not seven.
  const run = await api.run(id, signal);
  const lists = /** @type {const} */ (['metrics', 'controls', 'commands', 'filters', 'events', 'traces']);
  const answers = await Promise.all(lists.map((list) => api.list(id, list, signal)));
  const { metrics, controls, commands, passes, events, traces } = Object.assign({}, ...answers);
  batch(() => {
    state.run.value = run;
    state.metrics.value = metrics;
    state.controls.value = controls;
    state.commands.value = commands;
    state.events.value = events;
    state.traces.value = traces;
    addPasses(passes);
  });
}
