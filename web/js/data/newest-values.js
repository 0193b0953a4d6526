// @ts-check
/** The newest values of a few metrics of a run, whatever the charts are zoomed to. Knows no document. */
import { signal } from '../../vendor/ui.js';
import { currentSeries, lastValue } from './series.js';
import { SeriesStore } from './series-store.js';
import { Watches } from './watches.js';

/** Two buckets: the values of a watch that follows the end of a series. */
const POINTS = 2;

export class NewestValues {
  /** @param {(message: object) => void} send */
  constructor(send) {
    this.store = new SeriesStore();
    this.watches = new Watches(send, (run, key) => this.store.drop(run, key), { first: 2 });
    this.changes = signal(0);
  }

  /**
   * Follow the rank whose values are shown.
   * @param {number} rank
   */
  setRank(rank) {
    this.watches.setScope({ rank, start: null, stop: null, points: POINTS, superseded: false });
  }

  /**
   * Follow metrics of a run.
   * @param {string} run
   * @param {readonly string[]} keys
   * @returns {() => void} ends it
   */
  follow(run, keys) {
    for (const key of keys) this.watches.acquire(run, key);
    this.watches.sync();
    return () => {
      for (const key of keys) this.watches.release(run, key);
      this.watches.sync();
    };
  }

  /**
   * Take a frame of these watches.
   * @param {Frame} frame
   * @param {Iterable<string>} keys
   */
  apply(frame, keys) {
    this.store.apply(frame, keys);
    this.changes.value += 1;
  }

  /**
   * Return the newest value, null before the first one arrives. A view that reads it is drawn again when it changes.
   * @param {string} run
   * @param {string} key
   */
  value(run, key) {
    return this.changes.value >= 0 ? lastValue(currentSeries(this.store.get(run, key))) : null;
  }
}
