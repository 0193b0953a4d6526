// @ts-check
/** Matches the lines of a log against a regular expression, in a worker that is ended when it takes too long. */
import { shownText } from './log-lines.js';

const LIMIT_MS = 2000;
const BATCH_LINES = 2000;

export class LineMatcher {
  /**
   * @param {string} pattern a valid regular expression
   * @param {() => Worker} [start] starts the worker
   */
  constructor(pattern, start = startWorker) {
    this.pattern = pattern;
    this.start = start;
    /** @type {Worker | null} */
    this.worker = null;
    /** @type {WeakMap<LogLine, string[] | null>} */
    this.parts = new WeakMap();
    /** @type {Promise<void>} */
    this.last = Promise.resolve();
  }

  /**
   * Match the lines that are not known; one call waits for the one before.
   * @param {readonly LogLine[]} lines
   * @returns {Promise<void>}
   */
  match(lines) {
    this.last = this.last.then(async () => {
      const unknown = lines.filter((line) => !this.parts.has(line));
      for (let at = 0; at < unknown.length; at += BATCH_LINES) await this.#ask(unknown.slice(at, at + BATCH_LINES));
    });
    return this.last;
  }

  /**
   * Return the lines that match, of those that are known.
   * @param {readonly LogLine[]} lines
   */
  matching(lines) {
    return lines.filter((line) => this.parts.get(line));
  }

  /** End the worker. */
  close() {
    this.worker?.terminate();
    this.worker = null;
  }

  /** @param {LogLine[]} lines */
  async #ask(lines) {
    this.worker ??= this.start();
    const { worker, pattern } = this;
    const texts = lines.map(({ text }) => shownText(text));
    const found = await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.close();
        reject(new Error(`The expression took more than ${LIMIT_MS / 1000} s on ${lines.length} lines; simplify it.`));
      }, LIMIT_MS);
      worker.onmessage = ({ data }) => {
        clearTimeout(timer);
        resolve(data);
      };
      worker.onerror = () => {
        clearTimeout(timer);
        reject(new Error('The search with regular expressions could not be started.'));
      };
      worker.postMessage({ pattern, texts });
    });
    for (const [i, line] of lines.entries()) this.parts.set(line, found[i]);
  }
}

/** Start the worker. The content policy requires a policy that vouches for the address of its script. */
function startWorker() {
  const { href } = new URL('./match-lines.js', import.meta.url);
  const { trustedTypes } = /** @type {any} */ (globalThis);
  const policy = trustedTypes?.createPolicy('recis-match-lines', { createScriptURL: () => href });
  return new Worker(policy ? policy.createScriptURL('') : href, { type: 'module' });
}
