// @ts-check
/** The page's addresses: paths to screens, and view state to short readable parameters. Pure. */

/** @type {View} */
export const DEFAULT_VIEW = { from: null, to: null, smooth: 0, log: false, x: 'step', rank: 0, q: '', state: '' };

/** A path segment as its text; one that is no valid encoding stands for itself. @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param {string} path below the page's root, without it @param {string} [search] @returns {Route} */
export function parseRoute(path, search = '') {
  const parts = path.replace(/^\/+|\/+$/g, '').split('/');
  if (parts[0] === '') return { page: 'runs' };
  if (parts[0] === 'compare' && parts.length === 1) {
    const names = new URLSearchParams(search).get('runs') ?? '';
    return { page: 'compare', runs: [...new Set(names.split(',').filter(Boolean))] };
  }
  const tab = parts[2] ?? 'charts';
  if (parts[0] === 'run' && parts[1] && parts.length <= 3 && (tab === 'charts' || tab === 'tables' || tab === 'traces')) {
    return { page: 'run', run: decode(parts[1]), tab };
  }
  return { page: 'unknown', path };
}

/** The path of a screen, below the root and without a leading slash. @param {Route} route */
export function routePath(route) {
  if (route.page === 'run') return `run/${encodeURIComponent(route.run)}${route.tab === 'charts' ? '' : `/${route.tab}`}`;
  if (route.page === 'compare') return `compare?runs=${route.runs.map(encodeURIComponent).join(',')}`;
  return route.page === 'unknown' ? route.path : '';
}

/** A whole number of 0 or more, or null. @param {string | null} text */
function step(text) {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;
}

/** View state from an address; what cannot be read has its default. @param {string} search @returns {View} */
export function parseView(search) {
  const params = new URLSearchParams(search);
  const weight = Number(params.get('smooth'));
  const rank = params.get('rank');
  const from = step(params.get('from'));
  const to = step(params.get('to'));
  const zoomed = from !== null && to !== null && to > from;
  return {
    from: zoomed ? from : null,
    to: zoomed ? to : null,
    smooth: weight > 0 && weight < 1 ? weight : 0,
    log: params.get('log') === '1',
    x: params.get('x') === 'time' ? 'time' : 'step',
    rank: rank === 'all' ? 'all' : step(rank) ?? 0,
    q: params.get('q') ?? '',
    state: params.get('state') ?? '',
  };
}

/** The parameters of a view, defaults left out, starting with `?`, or an empty text. @param {View} view @param {string} [keep] parameters to carry over as they are */
export function viewSearch(view, keep = '') {
  const parts = keep ? [keep] : [];
  if (view.q) parts.push(`q=${encodeURIComponent(view.q)}`);
  if (view.state) parts.push(`state=${encodeURIComponent(view.state)}`);
  if (view.from !== null && view.to !== null) parts.push(`from=${view.from}&to=${view.to}`);
  if (view.smooth) parts.push(`smooth=${view.smooth}`);
  if (view.log) parts.push('log=1');
  if (view.x !== 'step') parts.push(`x=${view.x}`);
  if (view.rank !== 0) parts.push(`rank=${view.rank}`);
  return parts.length ? `?${parts.join('&')}` : '';
}

/** Section of a series name: all before its last slash, or an empty text. @param {string} key */
export function sectionOf(key) {
  const at = key.lastIndexOf('/');
  return at > 0 ? key.slice(0, at) : '';
}
