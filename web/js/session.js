// @ts-check
/**
 * Brings state and server together: loads the screen that is open, follows it, and carries out what people ask for.
 * Must not know how anything is shown.
 */
import { batch } from '../vendor/ui.js';
import { Live, RequestError, api, clockSkew } from './wire.js';
import { decodeFrame } from './series.js';
import { addEvent, addPasses, clearRun, dropRun, putCommand, putRuns, putTrace, setAttempt, state } from './state.js';

const LIST = {
  limit: 10_000,
  fields: 'project,name,state,created_at,updated_at,ranks,last_step,summary,tags',
  metric: ['loss', 'qps'],
};
const LIST_PACE_MS = 500;
const HIDDEN_REST_MS = 20_000;

/** An id for a command, so that sending it twice is harmless. Works on plain http too, unlike `randomUUID`. */
function commandId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

const now = () => Date.now() / 1000 + clockSkew();

export class Session {
  /** @param {import('./series.js').SeriesStore} store @param {(run: string, keys: Set<string>) => void} changed called when series have changed */
  constructor(store, changed) {
    this.store = store;
    this.changed = changed;
    /** @type {import('./watch.js').Watches | null} */
    this.watches = null;
    this.loading = new AbortController();
    this.resting = 0;
    /** @type {Map<string, Run>} changed runs of the list that are not shown yet */
    this.changedRuns = new Map();
    this.pacing = 0;
    this.live = new Live({
      opened: () => this.opened(),
      closed: () => this.closed(),
      text: (message) => this.told(message),
      binary: (buffer) => this.received(buffer),
    });
  }

  /** @param {import('./watch.js').Watches} watches */
  start(watches) {
    this.watches = watches;
    state.now.value = now();
    setInterval(() => (state.now.value = now()), 1000);
    state.link.value = { up: false, since: now(), ever: false };
    this.live.open();
    addEventListener('online', () => this.live.hurry());
    document.addEventListener('visibilitychange', () => this.visibility());
  }

  opened() {
    const again = state.link.value.ever;
    state.link.value = { up: true, since: now(), ever: true };
    this.follow();
    this.watches?.repeat();
    if (again) this.refresh();
  }

  closed() {
    const { up, since, ever } = state.link.value;
    state.link.value = { up: false, since: up ? now() : since, ever };
  }

  /** A hidden tab costs the server nothing after a while, and is up to date at once when it is seen again. */
  visibility() {
    clearTimeout(this.resting);
    if (document.hidden) {
      this.resting = setTimeout(() => this.watches?.rest(), HIDDEN_REST_MS);
      return;
    }
    this.live.hurry();
    this.watches?.sync();
  }

  follow() {
    const route = state.route.value;
    if (route.page === 'run') this.live.send({ type: 'follow', run: route.run });
    else this.live.send({ type: 'follow', runs: true });
  }

  /** Goes to another screen: ends what the old one followed, loads the new one. @param {Route} route */
  enter(route) {
    const before = state.route.value;
    const sameRun = before.page === 'run' && route.page === 'run' && before.run === route.run && state.load.value !== 'loading';
    state.route.value = route;
    if (sameRun) return;
    this.loading.abort();
    this.loading = new AbortController();
    if (before.page === 'run') this.live.send({ type: 'unfollow', run: before.run });
    else this.live.send({ type: 'unfollow', runs: true });
    clearRun();
    this.follow();
    this.refresh();
  }

  /** Loads the lists of the open screen. */
  async refresh() {
    const route = state.route.value;
    const { signal } = this.loading;
    try {
      if (route.page === 'run') await this.loadRun(route.run, signal);
      else if (route.page === 'runs') await this.loadRuns(null);
      else if (route.page === 'compare') putRuns(await Promise.all(route.runs.map((run) => api.run(run, signal))), true);
      state.load.value = 'ready';
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof RequestError)) throw error;
      // With something on screen already, the banner about the lost connection says enough.
      if (state.load.value !== 'ready' || error.status !== 0) state.load.value = { status: error.status, message: error.message };
    }
  }

  /** @param {string} run @param {AbortSignal} signal */
  async loadRun(run, signal) {
    const first = await api.run(run, signal);
    const [metrics, controls, commands, filters, events, traces] = await Promise.all([
      api.metrics(run, signal), api.controls(run, signal), api.commands(run, signal),
      api.filters(run, signal), api.events(run, signal), api.traces(run, signal),
    ]);
    batch(() => {
      state.run.value = first;
      state.metrics.value = metrics.metrics;
      state.controls.value = controls.controls;
      state.commands.value = commands.commands;
      state.events.value = events.events;
      state.traces.value = traces.traces;
      addPasses(filters.passes);
    });
  }

  /** @param {string | null} cursor where the page of the list starts, null for the beginning */
  async loadRuns(cursor) {
    const answer = await api.runs({ ...LIST, cursor }, this.loading.signal);
    putRuns(answer.runs, cursor === null);
    state.runsNext.value = answer.next_cursor;
  }

  /** Looks for what the view asks for among the runs that are not loaded. */
  async findRuns() {
    const { q, state: only } = state.view.value;
    putRuns((await api.runs({ ...LIST, q, state: only }, this.loading.signal)).runs);
  }

  /** Shows changes of the list together: a thousand runs change in a second. @param {Run} run */
  listed(run) {
    this.changedRuns.set(run.id, run);
    this.pacing ||= setTimeout(() => {
      this.pacing = 0;
      if (state.route.value.page !== 'run') putRuns([...this.changedRuns.values()]);
      this.changedRuns.clear();
    }, LIST_PACE_MS);
  }

  /** @param {any} message one text message of the socket */
  told(message) {
    const route = state.route.value;
    const own = route.page === 'run' && (message.run?.id ?? message.run) === route.run;
    switch (message.type) {
      case 'hello': state.mayControl.value = message.scope !== 'view'; return;
      case 'deleted': this.changedRuns.delete(message.run); dropRun(message.run); return;
      case 'run':
        if (own) state.run.value = message.run;
        else if (route.page !== 'run') this.listed(message.run);
        return;
      case 'error':
        // An unknown run has its own page already, from the request beside this message.
        if (message.error.code !== 'not_found') console.warn('The server refused a message:', message.error.message);
        return;
    }
    if (!own) return;
    switch (message.type) {
      case 'metrics': state.metrics.value = message.metrics; break;
      case 'controls': state.controls.value = message.controls; break;
      case 'command': putCommand(message.command); break;
      case 'passes': addPasses(message.passes); break;
      case 'event': addEvent(message.event); break;
      case 'trace': putTrace(message.trace); break;
    }
  }

  /** @param {ArrayBuffer} buffer */
  received(buffer) {
    const frame = decodeFrame(buffer);
    const keys = this.watches?.keysOf(frame.id);
    if (keys) this.changed(frame.run, this.store.apply(frame, keys));
  }

  /** Asks the training to take a value. The answer comes as changes of the command; see `views/outcome.js`. @param {string} control @param {unknown} value @param {string} reason */
  async apply(control, value, reason = '') {
    const run = state.run.value;
    if (run) await this.send(run.id, control, { id: commandId(), value, reason, phase: 'sending', message: '', at: now() });
  }

  /** Sends the same command again after the server could not be reached. @param {string} control */
  async retry(control) {
    const run = state.run.value;
    const attempt = state.attempts.value[control];
    if (run && attempt) await this.send(run.id, control, { ...attempt, phase: 'sending', message: '', at: now() });
  }

  /** @param {string} run @param {string} control @param {Attempt} attempt */
  async send(run, control, attempt) {
    const { id, value, reason } = attempt;
    setAttempt(control, attempt);
    try {
      const command = await api.put(run, control, { id, value, reason });
      // A push may have overtaken this answer with a later state of the same command.
      if (!state.commands.value.some((known) => known.id === command.id)) putCommand(command);
      setAttempt(control, { ...attempt, id: command.id, phase: 'sent' });
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      setAttempt(control, { ...attempt, phase: error.status === 0 ? 'unsent' : 'refused', message: error.message });
    }
  }
}
