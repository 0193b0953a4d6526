// @ts-check
/** Wiring only: makes the parts, connects them, follows the address, and shows the page. */
import { batch, effect, html, render, signal, untracked } from '../vendor/ui.js';
import { readColors } from './chart.js';
import { seconds } from './format.js';
import { focusChart, focusSearch, listenForKeys } from './keys.js';
import { routeOf } from './links.js';
import { marksOf } from './picture.js';
import { parseView, viewSearch } from './router.js';
import { SeriesStore } from './series.js';
import { Session } from './session.js';
import { applySettings, nextTheme, shortcuts } from './settings.js';
import { setView, state } from './state.js';
import { Wall } from './wall.js';
import { Watches } from './watch.js';
import { Shell } from './views/shell.js';

const SPARK_POINTS = 100;

const store = new SeriesStore();
const session = new Session(store, (run, keys) => wall.changed(run, keys));
const watches = new Watches((message) => session.live.send(message), (run, key) => store.drop(run, key));
const wall = new Wall(store, watches, () => {
  const { from, to, x } = state.view.peek();
  return { from, to, axis: x, paused: state.paused.peek() };
});

let colors = readColors();
/** @type {Set<(colors: Colors) => void>} */
const painters = new Set();

/** Everything views may ask of the page. */
const page = {
  store,
  wall,
  session,
  colors: () => colors,
  /** @param {(colors: Colors) => void} painter @returns {() => void} */
  onColors(painter) {
    painters.add(painter);
    return () => painters.delete(painter);
  },
  marks: () => marksOf(state.events.peek(), state.view.peek().x, colors, seconds),
  passSteps: () => state.passes.peek().map((pass) => pass.step),
  /** @param {number} from @param {number} to steps */
  zoom(from, to) {
    const start = Math.max(0, Math.floor(from));
    const stop = Math.max(start + 1, Math.ceil(to));
    look(start, stop);
  },
  resetZoom() {
    if (state.view.peek().from === null) return;
    look(null, null);
  },
  togglePause() {
    state.paused.value = !state.paused.value;
    if (!state.paused.value) wall.redraw();
  },
  picked: signal(/** @type {Set<string>} */ (new Set())),
  /** @param {string} run */
  pick(run) {
    const next = new Set(page.picked.value);
    if (!next.delete(run)) next.add(run);
    page.picked.value = next;
  },
};
/** @typedef {typeof page} Page */

/** A new zoom is a place to go back to. @param {number | null} from @param {number | null} to */
function look(from, to) {
  history.pushState(null, '', location.href);
  setView({ from, to });
}

/** Writes the view into the address. */
function remember() {
  const route = state.route.peek();
  const kept = route.page === 'compare' ? `runs=${route.runs.map(encodeURIComponent).join(',')}` : '';
  const search = viewSearch(state.view.peek(), kept);
  if (search === location.search) return;
  history.replaceState(null, '', location.pathname + search);
}

/** Shows what the address says. */
function arrive() {
  const route = routeOf(new URL(location.href)) ?? { page: 'unknown', path: location.pathname };
  batch(() => {
    state.view.value = parseView(location.search);
    session.enter(route);
  });
}

/** Links within the page change the screen without loading it anew. @param {MouseEvent} event */
function follow(event) {
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (link.target || link.hasAttribute('download') || link.getAttribute('href')?.startsWith('#')) return;
  const url = new URL(link.href);
  const route = routeOf(url);
  if (!route || route.page === 'unknown') return;
  event.preventDefault();
  const own = state.route.peek();
  // Between the tabs of a run the view stays: the same zoom, the same rank.
  const keeps = own.page === 'run' && route.page === 'run' && own.run === route.run && !url.search;
  history.pushState(null, '', keeps ? url.pathname + viewSearch({ ...state.view.peek(), q: '' }) : url.href);
  arrive();
  scrollTo(0, 0);
  document.getElementById('main')?.focus({ preventScroll: true });
}

session.start(watches);
arrive();

applySettings(() => {
  colors = readColors();
  painters.forEach((painter) => painter(colors));
  wall.redraw();
});

effect(() => {
  const { rank, from, to } = state.view.value;
  const list = state.route.value.page === 'runs';
  const points = list ? SPARK_POINTS : Math.min(2000, Math.ceil(Math.min(innerWidth, 900) * devicePixelRatio));
  const single = state.route.value.page === 'run';
  watches.setScope({ rank: single ? rank : 0, start: from, stop: to === null ? null : to + 1, points, superseded: single });
  untracked(() => {
    remember();
    wall.redraw();
  });
});
effect(() => {
  if (state.events.value.length + state.passes.value.length > 0) wall.redraw();
});

const help = signal(false);
listenForKeys(() => shortcuts.value, {
  '/': focusSearch,
  j: () => focusChart(1),
  k: () => focusChart(-1),
  0: page.resetZoom,
  ' ': page.togglePause,
  l: () => setView({ log: !state.view.value.log }),
  t: nextTheme,
  '?': () => (help.value = true),
});

addEventListener('popstate', arrive);
addEventListener('click', follow);
render(html`<${Shell} page=${page} help=${help} />`, /** @type {HTMLElement} */ (document.getElementById('app')));
