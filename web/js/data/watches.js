// @ts-check
/**
 * Subscriptions to series on `/ws/live`. Charts that become visible together share one watch, so that scrolling never
 * requests held data again. Pure: messages go to the `send` it is given.
 */

const MAX_KEYS = 64;
const MAX_WATCHES = 12;

export class Watches {
  /**
   * @param {(message: object) => void} send
   * @param {(run: string, key: string) => void} forget called for series that are no longer sent
   * @param {{first?: 1 | 2}} [options] `first` id of a watch: odd and even ids keep two sets of watches apart
   */
  constructor(send, forget, { first = 1 } = {}) {
    this.send = send;
    this.forget = forget;
    /** @type {Scope} */
    this.scope = { rank: 0, start: null, stop: null, points: 400, superseded: false };
    /** @type {Map<number, {run: string, keys: Set<string>}>} */
    this.watches = new Map();
    /** @type {Map<string, Map<string, number>>} how many charts need a series */
    this.needed = new Map();
    this.nextId = first;
  }

  /**
   * Count a chart that needs a series.
   * @param {string} run
   * @param {string} key
   */
  acquire(run, key) {
    const keys = this.needed.get(run) ?? new Map();
    this.needed.set(run, keys);
    keys.set(key, (keys.get(key) ?? 0) + 1);
  }

  /**
   * @param {string} run
   * @param {string} key
   */
  release(run, key) {
    const keys = this.needed.get(run);
    const left = (keys?.get(key) ?? 0) - 1;
    if (left > 0) keys?.set(key, left);
    else keys?.delete(key);
  }

  /**
   * Return the keys of a watch, or null when it has ended.
   * @param {number} id
   */
  keysOf(id) {
    return this.watches.get(id)?.keys ?? null;
  }

  /** End watches that no chart needs, and start those that are missing. */
  sync() {
    for (const [id, watch] of this.watches) {
      const keys = this.needed.get(watch.run);
      if (![...watch.keys].some((key) => keys?.has(key))) this.#end(id);
    }
    if (this.watches.size > MAX_WATCHES) this.suspend();
    for (const [run, keys] of this.needed) {
      const missing = [...keys.keys()].filter((key) => !this.#isWatched(run, key));
      for (let i = 0; i < missing.length; i += MAX_KEYS) {
        const id = this.nextId;
        this.nextId += 2;
        this.watches.set(id, { run, keys: new Set(missing.slice(i, i + MAX_KEYS)) });
        this.#start(id);
      }
    }
  }

  /**
   * Set what all watches request from now on.
   * @param {Scope} scope
   */
  setScope(scope) {
    const before = this.scope;
    if (Object.entries(scope).every(([name, value]) => before[/** @type {keyof Scope} */ (name)] === value)) return;
    this.scope = scope;
    this.restart();
  }

  /** Request everything again: after a reconnect, or with another scope. */
  restart() {
    for (const id of this.watches.keys()) this.#start(id);
  }

  /** End all watches but keep the data: the tab is hidden. `sync` starts them again. */
  suspend() {
    for (const id of [...this.watches.keys()]) this.#end(id, false);
  }

  /**
   * @param {string} run
   * @param {string} key
   */
  #isWatched(run, key) {
    return [...this.watches.values()].some((watch) => watch.run === run && watch.keys.has(key));
  }

  /** @param {number} id */
  #start(id) {
    const watch = this.watches.get(id);
    // In one order: the server works out once what several pages watch.
    if (watch) this.send({ type: 'watch', id, run: watch.run, keys: [...watch.keys].sort(), ...this.scope });
  }

  /**
   * @param {number} id
   * @param {boolean} forget
   */
  #end(id, forget = true) {
    const watch = this.watches.get(id);
    if (!watch) return;
    this.watches.delete(id);
    this.send({ type: 'unwatch', id });
    if (forget) for (const key of watch.keys) this.forget(watch.run, key);
  }
}
