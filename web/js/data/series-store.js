// @ts-check
/** The chart data that the page holds: watched series by run and key. Pure. */
import { mergeDelta } from './series.js';

/**
 * Order by rank, and within a rank superseded points before current ones.
 * @param {Series} a
 * @param {Series} b
 */
const byRank = (a, b) => a.rank - b.rank || Number(b.superseded) - Number(a.superseded) || a.attempt - b.attempt;

export class SeriesStore {
  /** @param {(run: string) => number} [originOf] returns when a run was created, in seconds since the epoch */
  constructor(originOf = () => 0) {
    this.originOf = originOf;
    /** @type {Map<string, number>} */
    this.origins = new Map();
    /** @type {Map<string, Map<string, Series[]>>} */
    this.runs = new Map();
  }

  /**
   * @param {string} run
   * @param {string} key
   * @returns {SeriesList}
   */
  get(run, key) {
    return this.runs.get(run)?.get(key) ?? [];
  }

  /**
   * Drop the series of one key.
   * @param {string} run
   * @param {string} key
   */
  drop(run, key) {
    this.runs.get(run)?.delete(key);
  }

  /**
   * Apply one frame.
   * @param {Frame} frame
   * @param {Iterable<string>} keys the keys of its watch: a snapshot without one of them says that it has no points
   * @returns {Set<string>} the keys that changed
   */
  apply(frame, keys) {
    const held = this.runs.get(frame.run) ?? new Map();
    this.runs.set(frame.run, held);
    const changed = new Set(frame.series.map((series) => series.key));
    const isSnapshot = frame.type !== 'delta';
    if (!isSnapshot) for (const delta of frame.series) applyDelta(held, delta);
    for (const key of isSnapshot ? keys : []) {
      held.set(key, frame.series.filter((series) => series.key === key).sort(byRank));
      changed.add(key);
    }
    this.#setOrigin(frame);
    return changed;
  }

  /**
   * Set when the run began: when it was created, or at its earliest point, which is before that where it was sent late.
   * @param {Frame} frame
   */
  #setOrigin({ run, series }) {
    const firsts = series.flatMap(({ n, time }) => (n > 0 ? time[0] : []));
    const created = this.originOf(run) || Number.POSITIVE_INFINITY;
    const known = this.origins.get(run) ?? Number.POSITIVE_INFINITY;
    const origin = Math.min(known, created, ...firsts);
    if (origin === Number.POSITIVE_INFINITY) return;
    this.origins.set(run, origin);
    const held = origin < known ? [...(this.runs.get(run)?.values() ?? [])].flat() : series;
    for (const one of held) one.origin = origin;
  }
}

/**
 * @param {Map<string, Series[]>} held
 * @param {Series} delta
 */
function applyDelta(held, delta) {
  const list = held.get(delta.key) ?? [];
  held.set(delta.key, list);
  const target = list.find((series) => series.rank === delta.rank && !series.superseded);
  if (target) mergeDelta(target, delta);
  else list.push(delta);
}
