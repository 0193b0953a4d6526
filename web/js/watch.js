// @ts-check
/**
 * Which series this tab wants pushed, as few watches: charts that come into view together share one, so that scrolling
 * never asks again for what is already held. Must not know the socket; messages go to the `send` it is given.
 */

const MOST_KEYS = 64;
const MOST_BATCHES = 12;

export class Watches {
  /** @param {(message: object) => void} send @param {(run: string, key: string) => void} forget called for series that are no longer pushed */
  constructor(send, forget) {
    this.send = send;
    this.forget = forget;
    /** @type {Scope} */
    this.scope = { rank: 0, start: null, stop: null, points: 400, superseded: false };
    /** @type {Map<number, {run: string, keys: Set<string>}>} */
    this.batches = new Map();
    /** @type {Map<string, Map<string, number>>} how many charts want a series */
    this.wanted = new Map();
    this.nextId = 1;
  }

  /** @param {string} run @param {string} key */
  want(run, key) {
    const keys = this.wanted.get(run) ?? new Map();
    this.wanted.set(run, keys);
    keys.set(key, (keys.get(key) ?? 0) + 1);
  }

  /** @param {string} run @param {string} key */
  unwant(run, key) {
    const keys = this.wanted.get(run);
    const left = (keys?.get(key) ?? 0) - 1;
    if (left > 0) keys?.set(key, left);
    else keys?.delete(key);
  }

  /** The keys of a watch, or null when it has ended. @param {number} id */
  keysOf(id) {
    return this.batches.get(id)?.keys ?? null;
  }

  /** Ends watches that nobody wants and starts those that are missing. */
  sync() {
    for (const [id, batch] of this.batches) {
      const keys = this.wanted.get(batch.run);
      if (![...batch.keys].some((key) => keys?.has(key))) this.end(id);
    }
    if (this.batches.size > MOST_BATCHES) [...this.batches.keys()].forEach((id) => this.end(id, false));
    for (const [run, keys] of this.wanted) {
      const covered = new Set();
      for (const batch of this.batches.values()) if (batch.run === run) batch.keys.forEach((key) => covered.add(key));
      const missing = [...keys.keys()].filter((key) => !covered.has(key));
      for (let i = 0; i < missing.length; i += MOST_KEYS) {
        const id = this.nextId++;
        this.batches.set(id, { run, keys: new Set(missing.slice(i, i + MOST_KEYS)) });
        this.ask(id);
      }
    }
  }

  /** @param {Scope} scope asked for in all watches from now on */
  setScope(scope) {
    const before = this.scope;
    if (Object.entries(scope).every(([name, value]) => before[/** @type {keyof Scope} */ (name)] === value)) return;
    this.scope = scope;
    this.repeat();
  }

  /** Asks for everything again: after a reconnect, or with another scope. */
  repeat() {
    for (const id of this.batches.keys()) this.ask(id);
  }

  /** Ends all watches without forgetting what is held: the tab is hidden. */
  rest() {
    for (const id of [...this.batches.keys()]) this.end(id, false);
  }

  /** @param {number} id */
  ask(id) {
    const batch = this.batches.get(id);
    if (batch) this.send({ type: 'watch', id, run: batch.run, keys: [...batch.keys], ...this.scope });
  }

  /** @param {number} id @param {boolean} forget */
  end(id, forget = true) {
    const batch = this.batches.get(id);
    if (!batch) return;
    this.batches.delete(id);
    this.send({ type: 'unwatch', id });
    if (forget) batch.keys.forEach((key) => this.forget(batch.run, key));
  }
}
