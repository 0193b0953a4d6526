// @ts-check
/**
 * Keeps the state up to date with the server: loads the data of the open page and follows its changes. Knows neither
 * document nor views.
 */
import { RequestError } from './api.js';
import { decodeFrame } from './frames.js';
import { loadCompared, loadRun } from './page-data.js';
import { addEvent, addPasses, clearRun, putCommand, putTrace, state } from './state.js';

/**
 * @typedef {object} SessionParts
 * @property {import('./api.js').ApiClient} api
 * @property {import('./run-list.js').RunList} runList
 * @property {import('./series-store.js').SeriesStore} store
 * @property {(run: string, keys: Set<string>) => void} seriesChanged
 */

/**
 * The messages that change lists of the open run, by their type.
 * @type {Record<string, (message: any) => void>}
 */
const RUN_MESSAGES = {
  metrics: (message) => (state.metrics.value = message.metrics),
  controls: (message) => (state.controls.value = message.controls),
  command: (message) => putCommand(message.command),
  passes: (message) => addPasses(message.passes),
  event: (message) => addEvent(message.event),
  trace: (message) => putTrace(message.trace),
};

export class Session {
  /** @param {SessionParts} parts */
  constructor({ api, runList, store, seriesChanged }) {
    this.api = api;
    this.runList = runList;
    this.store = store;
    this.seriesChanged = seriesChanged;
    /** @type {import('./connection.js').LiveConnection | null} */
    this.connection = null;
    /** @type {import('./watches.js').Watches | null} */
    this.watches = null;
    /** @type {import('./newest-values.js').NewestValues | null} */
    this.newest = null;
    this.loading = new AbortController();
  }

  /**
   * Use this connection and these watches, and connect. The session must be the connection's listener.
   * @param {import('./connection.js').LiveConnection} connection
   * @param {import('./watches.js').Watches} watches of the charts
   * @param {import('./newest-values.js').NewestValues} newest
   */
  start(connection, watches, newest) {
    this.connection = connection;
    this.watches = watches;
    this.newest = newest;
    state.connection.value = { up: false, since: this.api.now(), ever: false };
    connection.open();
  }

  opened() {
    const again = state.connection.value.ever;
    state.connection.value = { up: true, since: this.api.now(), ever: true };
    this.#follow();
    this.watches?.restart();
    this.newest?.watches.restart();
    // Also when the first request for the page has failed.
    if (again || typeof state.load.value === 'object') this.refresh();
  }

  closed() {
    const { up, since, ever } = state.connection.value;
    state.connection.value = { up: false, since: up ? this.api.now() : since, ever };
  }

  /** @param {any} message */
  text(message) {
    const route = state.route.value;
    const own = route.page === 'run' && (message.run?.id ?? message.run) === route.run;
    if (message.type === 'hello') greet(message);
    else if (message.type === 'deleted') this.runList.remove(message.run);
    else if (message.type === 'error') warn(message.error);
    else if (message.type === 'runs') this.#runsChanged(message.runs);
    else if (message.type === 'run' && own) state.run.value = message.run;
    else if (own) RUN_MESSAGES[message.type]?.(message);
  }

  /** @param {ArrayBuffer} buffer */
  binary(buffer) {
    this.frame(decodeFrame(buffer));
  }

  /**
   * Take a frame of chart data.
   * @param {Frame} frame
   */
  frame(frame) {
    const keys = this.watches?.keysOf(frame.id);
    if (keys) this.seriesChanged(frame.run, this.store.apply(frame, keys));
    const newestKeys = this.newest?.watches.keysOf(frame.id);
    if (newestKeys) this.newest?.apply(frame, newestKeys);
  }

  /** Reconnect and update: the tab is visible again, or the network is back. */
  resume() {
    this.connection?.reconnectNow();
    this.watches?.sync();
  }

  /** Receive no more chart data: the tab is hidden. */
  suspend() {
    this.watches?.suspend();
  }

  /**
   * Open a page: end the subscriptions of the one before, and load its data.
   * @param {Route} route
   */
  enter(route) {
    const before = state.route.value;
    const sameRun = before.page === 'run' && route.page === 'run' && before.run === route.run;
    const reuse = sameRun && state.load.value !== 'loading';
    state.route.value = route;
    if (reuse) return;
    this.loading.abort();
    this.loading = new AbortController();
    if (before.page === 'run') this.#send({ type: 'unfollow', run: before.run });
    this.#send({ type: 'unfollow', runs: true });
    clearRun();
    this.#follow();
    this.refresh();
  }

  /** Load the data of the open page. */
  async refresh() {
    const { signal } = this.loading;
    try {
      await this.#load(state.route.value, signal);
      state.load.value = 'ready';
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof RequestError)) throw error;
      // With data on the page already, the banner about the lost connection is enough.
      if (state.load.value === 'ready' && error.status === 0) return;
      state.load.value = { status: error.status, message: error.message };
      // A training prints the URL of its run before the server knows the run: open it when it appears in the list.
      if (error.status === 404) this.#send({ type: 'follow', ...this.runList.followed('run') });
    }
  }

  /** @param {readonly Run[]} runs */
  #runsChanged(runs) {
    this.runList.update(runs);
    const { route, load } = state;
    const { page, run } = /** @type {{page: string, run?: string}} */ (route.value);
    const missing = page === 'run' && typeof load.value === 'object' && load.value.status === 404;
    if (!missing || !runs.some(({ id }) => id === run)) return;
    this.#send({ type: 'unfollow', runs: true });
    this.#follow();
    this.refresh();
  }

  /** Load the next page of the list of runs. */
  async loadMoreRuns() {
    await this.runList.load(state.runsCursor.value, this.loading.signal);
  }

  /** Load the runs that the current search finds. */
  async searchRuns() {
    await this.runList.search(this.loading.signal);
  }

  /**
   * @param {Route} route
   * @param {AbortSignal} signal
   */
  async #load(route, signal) {
    if (route.page === 'run') await loadRun(this.api, route.run, signal);
    else if (route.page === 'runs') {
      await this.runList.load(null, signal);
      // With the metrics that the list has learned.
      this.#follow();
    } else if (route.page === 'compare') await loadCompared(this.api, route.runs, signal);
  }

  #follow() {
    const route = state.route.value;
    this.#send({ type: 'follow', ...(route.page === 'run' ? { run: route.run } : this.runList.followed(route.page)) });
  }

  /** @param {object} message */
  #send(message) {
    this.connection?.send(message);
  }
}

/** @param {{scope: string, session: string | null}} hello */
function greet({ scope, session }) {
  state.canControl.value = scope !== 'view';
  state.session.value = session;
}

/** @param {{code: string, message: string}} error */
function warn(error) {
  // An unknown run is shown by its page already, from the answer to its request.
  if (error.code !== 'not_found') console.warn('The server rejected a message:', error.message);
}
