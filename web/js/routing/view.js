// @ts-check
/** View state as short, readable query parameters. Pure. */

/** @type {View} */
export const DEFAULT_VIEW = { from: null, to: null, smooth: 0, log: false, x: 'step', rank: 0, q: '', state: '' };

/**
 * Parse a non-negative integer; return null for anything else.
 * @param {string | null} text
 */
function parseStep(text) {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;
}

/**
 * Parse view state from a query string; invalid parameters get their defaults.
 * @param {string} search
 * @returns {View}
 */
export function parseView(search) {
  const params = new URLSearchParams(search);
  const smooth = Number(params.get('smooth'));
  const rank = params.get('rank');
  const from = parseStep(params.get('from'));
  const to = parseStep(params.get('to'));
  const zoomed = from !== null && to !== null && to > from;
  return {
    from: zoomed ? from : null,
    to: zoomed ? to : null,
    smooth: smooth > 0 && smooth < 1 ? smooth : 0,
    log: params.get('log') === '1',
    x: params.get('x') === 'time' ? 'time' : 'step',
    rank: rank === 'all' ? 'all' : (parseStep(rank) ?? 0),
    q: params.get('q') ?? '',
    state: params.get('state') ?? '',
  };
}

/**
 * Return the query string of a view, without parameters that have their defaults.
 * @param {View} view
 * @param {string} [keep] parameters to put in front unchanged
 * @returns {string} starting with `?`, or empty
 */
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
