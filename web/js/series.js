// @ts-check
/**
 * Chart data: decodes the binary frames of `/ws/live`, merges deltas into what is held, smooths, and looks values up.
 * Pure: must not know sockets, the document or the chart library.
 */

/** The columns of a series, in wire order. */
export const COLUMNS = /** @type {const} */ (['x', 'time', 'min', 'max', 'mean', 'last', 'count', 'nan']);

/**
 * Reads one binary message. Columns are views on `buffer`, not copies.
 * @param {ArrayBuffer} buffer
 * @returns {Frame}
 */
export function decodeFrame(buffer) {
  if (buffer.byteLength < 4) throw new RangeError(`frame: expected a head length, got ${buffer.byteLength} bytes`);
  const size = new DataView(buffer).getUint32(0, true);
  const base = 4 + size;
  if (base > buffer.byteLength) throw new RangeError(`frame: the head says ${size} bytes, the message has ${buffer.byteLength}`);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  if (head.v !== 1) throw new RangeError(`frame: expected version 1, got ${head.v}`);
  const series = head.series.map((/** @type {any} */ part) => {
    /** @type {any} */
    const one = { key: part.key, rank: part.rank, attempt: part.attempt ?? 1, superseded: part.superseded === true, n: part.n, width: head.width };
    COLUMNS.forEach((name, i) => {
      one[name] = new Float64Array(buffer, base + part.offset + i * part.n * 8, part.n);
    });
    return one;
  });
  return { type: head.type, id: head.id, run: head.run, width: head.width, start: head.start, stop: head.stop, series };
}

/** Where `value` is or belongs in the first `n` ascending entries of `xs`. */
export function lowerBound(/** @type {ArrayLike<number>} */ xs, /** @type {number} */ n, /** @type {number} */ value) {
  let low = 0;
  let high = n;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Index of the entry closest to `value`, or -1 when there is none. */
export function nearest(/** @type {ArrayLike<number>} */ xs, /** @type {number} */ n, /** @type {number} */ value) {
  if (n === 0) return -1;
  const i = lowerBound(xs, n, value);
  if (i === 0) return 0;
  if (i === n) return n - 1;
  return value - xs[i - 1] <= xs[i] - value ? i - 1 : i;
}

/** @param {Series} series @param {number} capacity */
function grow(series, capacity) {
  for (const name of COLUMNS) {
    const column = new Float64Array(capacity);
    column.set(series[name].subarray(0, series.n));
    series[name] = column;
  }
}

/**
 * Puts the changed buckets of `delta` into `held`: same `x` is replaced, a new `x` is inserted in order.
 * @param {Series} held @param {Series} delta
 */
export function mergeDelta(held, delta) {
  for (let i = 0; i < delta.n; i++) {
    const x = delta.x[i];
    const at = held.n > 0 && x > held.x[held.n - 1] ? held.n : lowerBound(held.x, held.n, x);
    if (at === held.n || held.x[at] !== x) {
      if (held.n === held.x.length) grow(held, Math.max(64, held.n * 2));
      for (const name of COLUMNS) held[name].copyWithin(at + 1, at, held.n);
      held.n += 1;
    }
    for (const name of COLUMNS) held[name][at] = delta[name][i];
  }
}

/** Rank by rank, what was superseded before what counts. @param {Series} a @param {Series} b */
const inOrder = (a, b) => a.rank - b.rank || Number(b.superseded) - Number(a.superseded) || a.attempt - b.attempt;

/** What counts: without what a newer attempt has gone back behind. @param {SeriesList} list */
export const current = (list) => list.filter((s) => !s.superseded);

/** How many points of these series a newer attempt has gone back behind. @param {SeriesList} list */
export function supersededPoints(list) {
  let total = 0;
  for (const s of list) if (s.superseded) for (let i = 0; i < s.n; i++) total += s.count[i];
  return total;
}

/** What the page holds of all charts: run and key to the series of that key; the last one counts. */
export class SeriesStore {
  constructor() {
    /** @type {Map<string, Map<string, Series[]>>} */
    this.runs = new Map();
  }

  /** @param {string} run @param {string} key @returns {SeriesList} */
  get(run, key) {
    return this.runs.get(run)?.get(key) ?? [];
  }

  /** Forgets one chart (it is no longer watched), or with `key` null a whole run. */
  drop(/** @type {string} */ run, /** @type {string | null} */ key = null) {
    if (key === null) this.runs.delete(run);
    else this.runs.get(run)?.delete(key);
  }

  /**
   * Takes one frame. `keys` are the keys of its watch: a snapshot without one of them says that it is empty.
   * @param {Frame} frame @param {Iterable<string>} keys
   * @returns {Set<string>} the keys that changed
   */
  apply(frame, keys) {
    const held = this.runs.get(frame.run) ?? new Map();
    this.runs.set(frame.run, held);
    const changed = new Set(frame.series.map((s) => s.key));
    if (frame.type === 'snapshot') {
      for (const key of keys) {
        held.set(key, frame.series.filter((s) => s.key === key).sort(inOrder));
        changed.add(key);
      }
      return changed;
    }
    for (const delta of frame.series) {
      const list = held.get(delta.key) ?? [];
      held.set(delta.key, list);
      const target = list.find((/** @type {Series} */ s) => s.rank === delta.rank && !s.superseded);
      if (target) mergeDelta(target, delta);
      else list.push(delta);
    }
    return changed;
  }
}

/**
 * Debiased exponential moving average over buckets, NaN left out: a curve that starts at the first value.
 * @param {Float64Array} values @param {number} n @param {number} weight 0 (none) to below 1
 * @returns {Float64Array}
 */
export function smooth(values, n, weight) {
  const out = new Float64Array(n);
  let sum = 0;
  let scale = 0;
  for (let i = 0; i < n; i++) {
    const value = values[i];
    if (Number.isNaN(value)) {
      out[i] = NaN;
      continue;
    }
    sum = weight * sum + (1 - weight) * value;
    scale = weight * scale + (1 - weight);
    out[i] = sum / scale;
  }
  return out;
}

/**
 * Lowest and highest finite value of the buckets with `from` <= x <= `to`; with `positive` only values above 0.
 * @param {SeriesList} list @param {number} from @param {number} to @param {boolean} positive
 * @returns {[number, number] | null}
 */
export function valueRange(list, from, to, positive) {
  let low = Infinity;
  let high = -Infinity;
  for (const s of list) {
    for (let i = Math.max(0, lowerBound(s.x, s.n, from) - 1); i < s.n && s.x[i] <= to; i++) {
      if (s.min[i] < low && (!positive || s.min[i] > 0)) low = s.min[i];
      if (s.max[i] > high && (!positive || s.max[i] > 0)) high = s.max[i];
      if (positive && s.max[i] > 0 && s.max[i] < low) low = s.max[i];
    }
  }
  return low <= high ? [low, high] : null;
}

/** What these series cover, in steps or in seconds, or null when they are empty. @param {Iterable<Series>} list @param {Axis} axis @returns {[number, number] | null} */
export function extent(list, axis) {
  let low = Infinity;
  let high = -Infinity;
  for (const s of list) {
    if (s.n === 0) continue;
    low = Math.min(low, axis === 'time' ? s.time[0] : s.x[0]);
    high = Math.max(high, axis === 'time' ? s.time[s.n - 1] : s.x[s.n - 1] + s.width - 1);
  }
  return low <= high ? [low, high] : null;
}

/** One series with the bucket sums of several added up; `count` 1 and `nan` 0, so that sum and mean are the same. @param {SeriesList} list @returns {Series | null} */
export function total(list) {
  const counted = current(list);
  if (counted.length === 0) return null;
  /** @type {Map<number, {time: number, sum: number}>} */
  const sums = new Map();
  for (const s of counted) {
    for (let i = 0; i < s.n; i++) {
      const at = sums.get(s.x[i]) ?? { time: s.time[i], sum: 0 };
      at.sum += s.mean[i] * (s.count[i] - s.nan[i]) || 0;
      sums.set(s.x[i], at);
    }
  }
  const rows = [...sums].sort((a, b) => a[0] - b[0]);
  const column = (/** @type {(row: [number, {time: number, sum: number}]) => number} */ pick) => Float64Array.from(rows, pick);
  const sum = column(([, at]) => at.sum);
  return {
    key: counted[0].key, rank: -1, attempt: counted[0].attempt, superseded: false, n: rows.length, width: counted[0].width,
    x: column(([x]) => x), time: column(([, at]) => at.time), min: sum, max: sum, mean: sum, last: sum,
    count: column(() => 1), nan: column(() => 0),
  };
}

/** How many points of these series that count are NaN or infinite. @param {SeriesList} list */
export function nonFinite(list) {
  let total = 0;
  for (const s of current(list)) for (let i = 0; i < s.n; i++) total += s.nan[i];
  return total;
}

/** The newest value of the last series. @param {SeriesList} list @returns {number | null} */
export function lastValue(list) {
  const s = list.at(-1);
  return s && s.n > 0 ? s.last[s.n - 1] : null;
}
