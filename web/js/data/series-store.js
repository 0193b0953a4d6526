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
  constructor() {
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
    if (frame.type === 'delta') {
      for (const delta of frame.series) applyDelta(held, delta);
      return changed;
    }
    for (const key of keys) {
      held.set(key, frame.series.filter((series) => series.key === key).sort(byRank));
      changed.add(key);
    }
    return changed;
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
