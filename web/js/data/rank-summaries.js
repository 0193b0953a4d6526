// @ts-check
/**
 * Summaries of all ranks: a watch with the rank "band" is answered over HTTP, again and again, instead of by the live
 * connection, which would push every rank. Knows no document.
 */
import { RequestError } from './api.js';
import { decodeFrame } from './frames.js';

const INTERVAL_MS = 5000;
const MAX_POINTS = 200;

/** The parameters of a request, by the members of a watch. */
const query = (/** @type {any} */ { keys, start, stop, points }) => ({
  ...{ key: keys, rank: 'summary', start, stop, points: Math.min(points, MAX_POINTS) },
});

export class RankSummaries {
  /**
   * @param {Pick<import('./api.js').ApiClient, 'series'>} api
   * @param {(message: object) => void} send to the live connection
   * @param {(frame: Frame) => void} deliver
   */
  constructor(api, send, deliver) {
    this.api = api;
    this.forward = send;
    this.deliver = deliver;
    /** @type {Map<number, {end: AbortController, timer: number}>} */
    this.polls = new Map();
  }

  /**
   * Take a message for the live connection; answer those watches that ask for a summary.
   * @param {any} message
   */
  send(message) {
    const isSummary = message.type === 'watch' && message.rank === 'band';
    if ('id' in message) this.#end(message.id);
    // A watch that was live until now has the same id.
    this.forward(isSummary ? { type: 'unwatch', id: message.id } : message);
    if (!isSummary) return;
    const poll = { end: new AbortController(), timer: 0 };
    this.polls.set(message.id, poll);
    this.#ask(message, poll);
  }

  /**
   * @param {any} watch
   * @param {{end: AbortController, timer: number}} poll
   */
  async #ask(watch, poll) {
    try {
      const buffer = await this.api.series(watch.run, query(watch), poll.end.signal);
      if (poll.end.signal.aborted) return;
      this.deliver({ ...decodeFrame(buffer), id: watch.id });
    } catch (error) {
      if (poll.end.signal.aborted) return;
      if (!(error instanceof RequestError)) throw error;
    }
    poll.timer = setTimeout(() => this.#ask(watch, poll), INTERVAL_MS);
  }

  /** @param {number} id */
  #end(id) {
    const poll = this.polls.get(id);
    if (!poll) return;
    poll.end.abort();
    clearTimeout(poll.timer);
    this.polls.delete(id);
  }
}
