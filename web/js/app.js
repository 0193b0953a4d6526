// @ts-check
/** What the pages use: the session, the linked charts and the view. Creates and connects its parts. */
import { Palette } from './charts/colors.js';
import { ChartGroup } from './charts/group.js';
import { eventMarks } from './charts/picture.js';
import { PlotPool } from './charts/plots.js';
import { ApiClient } from './data/api.js';
import { LiveConnection } from './data/connection.js';
import { NewestValues } from './data/newest-values.js';
import { RankSummaries } from './data/rank-summaries.js';
import { RunList } from './data/run-list.js';
import { SeriesStore } from './data/series-store.js';
import { Session } from './data/session.js';
import { createdAt, setView, state } from './data/state.js';
import { Watches } from './data/watches.js';
import { root } from './routing/links.js';
import { effectHref, eventsHref, openPage, pushZoom } from './routing/navigation.js';

export class App {
  constructor() {
    const api = new ApiClient(root);
    this.api = api;
    this.store = new SeriesStore(createdAt);
    this.palette = new Palette();
    this.plots = new PlotPool();
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
    const digits = (/** @type {number} */ seconds) => Number(seconds.toFixed(3));
    this.zoomToSteps(steps[0], steps[1], axis === 'time' ? [digits(from), digits(to)] : null);
  }

  /**
   * Zoom all charts to some steps.
   * @param {number} from
   * @param {number} to
   * @param {[number, number] | null} [times] first and last second on the time axis
   */
  zoomToSteps(from, to, times = null) {
    this.charts.preview(null);
    const first = Math.max(0, Math.floor(from));
    pushZoom({ from: first, to: Math.max(first + 1, Math.ceil(to)), times });
  }

  /**
   * Show the effect of a marked command of the open run, or its events.
   * @param {EventMark} mark
   */
  openMark({ command }) {
    const run = state.run.peek();
    if (run) openPage(command ? effectHref(run.id, command) : eventsHref(run.id));
  }

  /**
   * Show another part of the horizontal axis in all charts; nothing before the first step.
   * @param {number} from first x value
   * @param {number} to last x value
   * @param {boolean} settled whether it stays; otherwise only what is loaded is drawn
   */
  pan(from, to, settled) {
    const { x: axis } = state.view.peek();
    const start = axis === 'time' ? from : Math.max(0, from);
    const length = to - from;
    this.charts.preview(settled ? null : [start, start + length]);
    if (!settled) return;
    // A range of whole steps would grow with each move if both of its ends were rounded.
    const first = axis === 'step' ? Math.round(start) : start;
    this.zoom(first, first + (axis === 'step' ? Math.round(length) : length));
  }

  /** Show everything again, on both axes. */
  resetZoom() {
    const { from, scales } = state.view.peek();
    if (from !== null || scales.length > 0) pushZoom({ from: null, to: null, times: null, scales: [] });
  }

  /** Freeze all charts, or continue with what has arrived meanwhile. */
  togglePause() {
    setView({ paused: !state.view.peek().paused });
  }
}
