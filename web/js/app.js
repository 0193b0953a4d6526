// @ts-check
/** What the pages use: the session, the linked charts and the view. Creates and connects its parts. */
import { Palette } from './charts/colors.js';
import { ChartGroup } from './charts/group.js';
import { eventMarks } from './charts/picture.js';
import { ApiClient } from './data/api.js';
import { Commands } from './data/commands.js';
import { LiveConnection } from './data/connection.js';
import { RunList } from './data/run-list.js';
import { SeriesStore } from './data/series-store.js';
import { Session } from './data/session.js';
import { state } from './data/state.js';
import { Watches } from './data/watches.js';
import { root } from './routing/links.js';
import { pushZoom } from './routing/navigation.js';

export class App {
  constructor() {
    const api = new ApiClient(root);
    this.api = api;
    this.store = new SeriesStore();
    this.palette = new Palette();
    this.commands = new Commands(api);
    this.session = new Session({
      api,
      runList: new RunList(api),
      store: this.store,
      seriesChanged: (run, keys) => this.charts.seriesChanged(run, keys),
    });
    this.connection = new LiveConnection(root, this.session);
    this.watches = new Watches(
      (message) => this.connection.send(message),
      (run, key) => this.store.drop(run, key),
    );
    this.charts = new ChartGroup(this.store, this.watches, () => {
      const { from, to, x } = state.view.peek();
      return { from, to, axis: x, paused: state.paused.peek() };
    });
  }

  /** Connect to the server. */
  start() {
    this.session.start(this.connection, this.watches);
  }

  /** Return the marks of the run's events on the current axis. */
  eventMarks() {
    return eventMarks(state.events.peek(), state.view.peek().x, this.palette.colors);
  }

  /** Return the steps of the run's filter passes. */
  passSteps() {
    return state.passes.peek().map((pass) => pass.step);
  }

  /**
   * Zoom all charts.
   * @param {number} from first step
   * @param {number} to last step
   */
  zoom(from, to) {
    const first = Math.max(0, Math.floor(from));
    pushZoom(first, Math.max(first + 1, Math.ceil(to)));
  }

  resetZoom() {
    if (state.view.peek().from !== null) pushZoom(null, null);
  }

  /** Freeze all charts, or continue with what has arrived meanwhile. */
  togglePause() {
    state.paused.value = !state.paused.value;
    if (!state.paused.value) this.charts.redraw();
  }
}
