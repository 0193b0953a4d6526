// @ts-check
/** The browser's history and address: follows links without reloading, and keeps the view state in the address. */
import { batch } from '../../vendor/ui.js';
import { setView, state } from '../data/state.js';
import { routeOf, runHref } from './links.js';
import { runsParameter } from './routes.js';
import { parseView, viewSearch } from './view.js';

/**
 * Open the route in the address bar.
 * @param {(route: Route) => void} enter
 */
function openAddress(enter) {
  const route = routeOf(location) ?? { page: 'unknown', path: location.pathname };
  batch(() => {
    state.view.value = parseView(location.search);
    enter(route);
  });
}

/**
 * Return the URL that a click opens within the page, or null when the browser should handle the click.
 * @param {MouseEvent} event
 */
function clickedUrl(event) {
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (!link || event.defaultPrevented || event.button !== 0) return null;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return null;
  if (link.target || link.hasAttribute('download') || link.getAttribute('href')?.startsWith('#')) return null;
  return new URL(link.href);
}

/**
 * @param {MouseEvent} event
 * @param {(route: Route) => void} enter
 */
function followLink(event, enter) {
  const url = clickedUrl(event);
  const route = url && routeOf(url);
  if (!url || !route || route.page === 'unknown') return;
  event.preventDefault();
  const open = state.route.peek();
  // Tabs of one run share the view: the same zoom, the same rank.
  const sameRun = open.page === 'run' && route.page === 'run' && open.run === route.run;
  const keepView = sameRun && !url.search;
  const view = { ...state.view.peek(), q: '', state: '', project: '', sort: '', hidden: [], picked: [], tags: [] };
  history.pushState(null, '', keepView ? url.pathname + viewSearch(view) : url.href);
  openAddress(enter);
  scrollTo(0, 0);
  document.getElementById('main')?.focus({ preventScroll: true });
}

/**
 * Open the current address, and every address that links and the history lead to.
 * @param {(route: Route) => void} enter called with each route to open
 */
export function startNavigation(enter) {
  openAddress(enter);
  addEventListener('popstate', () => openAddress(enter));
  addEventListener('click', (event) => followLink(event, enter));
}

/**
 * Return the URL that shows the effect of a command of a run.
 * @param {string} run
 * @param {string} command
 */
export const effectHref = (run, command) =>
  runHref(run, 'tables') + viewSearch({ ...state.view.value, q: '', effect: command });

/**
 * Return the URL that shows the events of a run.
 * @param {string} run
 */
export const eventsHref = (run) => runHref(run, 'events') + viewSearch({ ...state.view.value, q: '' });

/**
 * Open a URL of the page, as a link would.
 * @param {string} href
 */
export function openPage(href) {
  history.pushState(null, '', href);
  dispatchEvent(new PopStateEvent('popstate'));
}

/** Write the view state into the address without a new history entry. */
export function writeView() {
  const route = state.route.peek();
  const search = viewSearch(state.view.peek(), route.page === 'compare' ? runsParameter(route.runs) : '');
  if (search !== location.search) history.replaceState(null, '', location.pathname + search);
}

/**
 * Set the zoom, with a history entry so that Back returns to the one before.
 * @param {Partial<Pick<View, 'from' | 'to' | 'times' | 'scales'>>} zoom
 */
export function pushZoom(zoom) {
  history.pushState(null, '', location.href);
  setView(zoom);
}
