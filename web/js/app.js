// @ts-check
/** What the pages use: the session, the linked charts and the view. Creates and connects its parts. */
import { Palette } from './charts/colors.js';
import { ChartGroup } from './charts/group.js';
import { eventMarks } from './charts/picture.js';
import { ApiClient } from './data/api.js';
import { Commands } from './data/commands.js';
import { LiveConnection } from './data/connection.js';
import { NewestValues } from './data/newest-values.js';
import { RankSummaries } from './data/rank-summaries.js';
import { RunList } from './data/run-list.js';
import { SeriesStore } from './data/series-store.js';
import { Session } from './data/session.js';
import { createdAt, setView, state } from './data/state.js';
import { Watches } from './data/watches.js';
import { root } from './routing/links.js';
import { effectHref, openPage, pushZoom } from './routing/navigation.js';

export class App {
  constructor() {
    const api = new ApiClient(root);
    this.api = api;
    this.store = new SeriesStore(createdAt);
    this.palette = new Palette();
    this.commands = new Commands(api);
    this.session = new Session({
      api,
      runList: new RunList(api),
      store: this.store,
      seriesChanged: (run, keys) => this.charts.seriesChanged(run, keys),
    });
    this.connection = new LiveConnection(root, this.session);
    const send = (/** @type {object} */ message) => this.connection.send(message);
    const summaries = new RankSummaries(api, send, (frame) => this.session.frame(frame));
    this.watches = new Watches(
      (message) => summaries.send(message),
      (run, key) => this.store.drop(run, key),
    );
    this.newest = new NewestValues(send);
    this.charts = new ChartGroup(this.store, this.watches, () => {
      const { from, to, times, x: axis, paused } = state.view.peek();
      return { from, to, times, axis, paused };
    });
  }

  /** Connect to the server. */
  start() {
    this.session.start(this.connection, this.watches, this.newest);
  }

  /** Return the marks of the run's events on the current axis. */
  eventMarks() {
    const origin = this.store.origins.get(state.run.peek()?.id ?? '') ?? 0;
    return eventMarks(state.events.peek(), state.view.peek().x, this.palette.colors, origin);
  }

  /** Return the steps of the run's filter passes. */
  passSteps() {
    return state.passes.peek().map((pass) => pass.step);
  }

  /**
   * Zoom all charts.
   * @param {number} from first x value
   * @param {number} to last x value
   */
  zoom(from, to) {
    const axis = state.view.peek().x;
    const steps = axis !== 'step' ? this.charts.stepsBetween(from, to) : [from, to];
    if (!steps) return;
    const first = Math.max(0, Math.floor(steps[0]));
    const last = Math.max(first + 1, Math.ceil(steps[1]));
    const digits = (/** @type {number} */ seconds) => Number(seconds.toFixed(3));
    pushZoom({ from: first, to: last, times: axis === 'time' ? [digits(from), digits(to)] : null });
  }

  /**
   * Show the effect of a command of the open run.
   * @param {string} command
   */
  openEffect(command) {
    const run = state.run.peek();
    if (run) openPage(effectHref(run.id, command));
  }

  resetZoom() {
    if (state.view.peek().from !== null) pushZoom({ from: null, to: null, times: null });
  }

  /** Freeze all charts, or continue with what has arrived meanwhile. */
  togglePause() {
    setView({ paused: !state.view.peek().paused });
  }
}
