// @ts-check
/** Paths of the page and the routes they stand for. Pure. */

const TABS = new Set(['charts', 'tables', 'events', 'traces', 'logs', 'info']);

/**
 * Decode a path segment; return one with an invalid encoding unchanged.
 * @param {string} segment
 */
export function decodeText(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/**
 * Return the route of a path.
 * @param {string} path relative to the root of the page
 * @param {string} [search] query string
 * @returns {Route}
 */
export function parseRoute(path, search = '') {
  const parts = path.replace(/^\/+|\/+$/g, '').split('/');
  if (parts[0] === '') return { page: 'runs' };
  if (parts[0] === 'compare' && parts.length === 1) {
    const ids = new URLSearchParams(search).get('runs') ?? '';
    return { page: 'compare', runs: [...new Set(ids.split(',').filter(Boolean))] };
  }
  const tab = parts[2] ?? 'charts';
  if (parts[0] === 'run' && parts[1] && parts.length <= 3 && TABS.has(tab)) {
    return { page: 'run', run: decodeText(parts[1]), tab: /** @type {Tab} */ (tab) };
  }
  return { page: 'unknown', path };
}

/**
 * Return the query parameter that lists the runs of a comparison.
 * @param {readonly string[]} runs
 */
export const runsParameter = (runs) => `runs=${runs.map(encodeURIComponent).join(',')}`;

/**
 * Return the path of a route, relative to the root of the page and without a leading slash.
 * @param {Route} route
 */
export function routePath(route) {
  if (route.page === 'run') {
    const path = `run/${encodeURIComponent(route.run)}`;
    return route.tab === 'charts' ? path : `${path}/${route.tab}`;
  }
  if (route.page === 'compare') return `compare?${runsParameter(route.runs)}`;
  return route.page === 'unknown' ? route.path : '';
}
