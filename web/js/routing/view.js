// @ts-check
/** View state as short, readable query parameters. Pure. */
import { decodeText } from './routes.js';

/** @type {View} */
export const DEFAULT_VIEW = {
  ...{ from: null, to: null, times: null, smooth: 0, log: false, robust: false, x: 'step', rank: null, paused: false },
  ratio: false,
  ...{ q: '', stream: '', state: '', project: '', sort: '', effect: '' },
  ...{ folded: [], picked: [], hidden: [], metrics: [], tags: [], pins: [], scales: [] },
};

/** Members of a view that are texts, and parameters of the same name. */
const TEXTS = /** @type {const} */ (['q', 'stream', 'state', 'project', 'sort', 'effect']);

/**
 * The parameters that are lists, by the member of the view.
 * @type {readonly ['folded' | 'picked' | 'hidden' | 'metrics' | 'tags', string][]}
 */
const LISTS = [
  ['folded', 'fold'],
  ['picked', 'pick'],
  ['hidden', 'hide'],
  ['metrics', 'metrics'],
  ['tags', 'tags'],
];
/** @type {readonly Axis[]} */
const AXES = ['step', 'time', 'relative'];
/** How many items of a list an address has. */
export const MAX_ITEMS = 200;
/** Series of one chart. */
export const MAX_COMBINED = 16;

/**
 * Parse a non-negative integer; return null for anything else.
 * @param {string | null} text
 */
function parseStep(text) {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;
}

/**
 * Parse the ends of a zoom in seconds since the epoch: `1795462801.5-1795462817`.
 * @param {string | null} text
 * @returns {[number, number] | null}
 */
function parseTimes(text) {
  const match = /^(\d{1,12}(?:\.\d{1,6})?)-(\d{1,12}(?:\.\d{1,6})?)$/.exec(text ?? '');
  return match && Number(match[2]) > Number(match[1]) ? [Number(match[1]), Number(match[2])] : null;
}

/**
 * Return the items of a list, which are separated by commas, as they are in the address.
 * @param {string} search
 * @param {string} name
 */
function listItems(search, name) {
  const text = new RegExp(`[?&]${name}=([^&]*)`).exec(search)?.[1] ?? '';
  return text.split(',').filter(Boolean).slice(0, MAX_ITEMS);
}

/**
 * Parse a list of names, which may be encoded.
 * @param {string} search
 * @param {string} name
 */
const parseList = (search, name) => listItems(search, name).map(decodeText);

/**
 * Parse pinned charts, whose series are separated by a plus sign: `loss,train%2Fauc+eval%2Fauc`.
 * @param {string} search
 */
const parsePins = (search) =>
  listItems(search, 'pin')
    .map((item) => item.split('+').filter(Boolean).slice(0, MAX_COMBINED).map(decodeText))
    .filter((keys) => keys.length > 0);

/**
 * Parse zooms of vertical axes: `loss:0.4:0.5,train%2Fauc:0.7:0.8`.
 * @param {string} search
 * @returns {View['scales']}
 */
function parseScales(search) {
  return listItems(search, 'y').flatMap((item) => {
    const [name, low, high, ...rest] = item.split(':');
    const [from, to] = [low, high].map(Number);
    if (!name || !low || !high || rest.length > 0 || !Number.isFinite(to - from) || to <= from) return [];
    return [/** @type {[string, number, number]} */ ([decodeText(name), from, to])];
  });
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
    times: zoomed ? parseTimes(params.get('times')) : null,
    log: params.get('log') === '1',
    robust: params.get('robust') === '1',
    ratio: params.get('ratio') === '1',
    x: AXES.find((axis) => axis === params.get('x')) ?? 'step',
    rank: rank === 'all' || rank === 'band' ? rank : parseStep(rank),
    paused: params.get('paused') === '1',
    pins: parsePins(search),
    scales: parseScales(search),
    .../** @type {Pick<View, (typeof TEXTS)[number]>} */ (
      Object.fromEntries(TEXTS.map((name) => [name, params.get(name) ?? '']))
    ),
    .../** @type {Pick<View, 'folded' | 'picked' | 'hidden' | 'metrics' | 'tags'>} */ (
      Object.fromEntries(LISTS.map(([member, name]) => [member, parseList(search, name)]))
    ),
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
  for (const name of TEXTS) {
    if (view[name]) parts.push(`${name}=${encodeURIComponent(view[name])}`);
  }
  if (view.from !== null && view.to !== null) parts.push(`from=${view.from}&to=${view.to}`);
  if (view.times) parts.push(`times=${view.times.join('-')}`);
  if (view.smooth) parts.push(`smooth=${view.smooth}`);
  if (view.log) parts.push('log=1');
  if (view.robust) parts.push('robust=1');
  if (view.ratio) parts.push('ratio=1');
  if (view.x !== 'step') parts.push(`x=${view.x}`);
  if (view.rank !== null) parts.push(`rank=${view.rank}`);
  if (view.paused) parts.push('paused=1');
  for (const [member, name] of LISTS) {
    if (view[member].length) parts.push(`${name}=${view[member].map(encodeURIComponent).join(',')}`);
  }
  const pins = view.pins.map((keys) => keys.map(encodeURIComponent).join('+'));
  const scales = view.scales.map(([name, ...range]) => [encodeURIComponent(name), ...range].join(':'));
  if (scales.length) parts.push(`y=${scales.join(',')}`);
  if (pins.length) parts.push(`pin=${pins.join(',')}`);
  return parts.length ? `?${parts.join('&')}` : '';
}
