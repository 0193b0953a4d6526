// @ts-check
/** Lines of a run's log: their texts, their search, and a part of the log that follows its end. No document. */

/** How many lines are kept on the page; the oldest are loaded again when asked for. */
export const MAX_LINES = 20_000;
const PAGE_LINES = 1000;
const [ESC, BEL] = [27, 7].map((code) => String.fromCharCode(code));
const ESCAPES = new RegExp(
  `${ESC}(?:\\[[0-?]*[ -/]*[@-~]|\\][^${BEL}${ESC}]*(?:${BEL}|${ESC}\\\\)|[@-Z\\\\^_=>78])`,
  'g',
);
const CONTROLS = /(?!\t)[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu;

/**
 * Return the text of a line as it is shown: without colours, and with control characters made visible.
 * @param {string} text
 */
export const shownText = (text) => text.replace(ESCAPES, '').replace(CONTROLS, '\ufffd');

/**
 * Divide a text at the words that were searched for: every second part is one of them.
 * @param {string} text
 * @param {string} search
 */
export function markedParts(text, search) {
  const words = search.split(/\s+/).filter(Boolean);
  if (words.length === 0) return [text];
  const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return text.split(new RegExp(`(${escaped.join('|')})`, 'gi'));
}

/**
 * A part of a log. Loads the newest lines of a filter, then what arrives, and older ones when asked for.
 */
export class LogPart {
  /**
   * @param {Pick<import('./api.js').ApiClient, 'lines'>} api
   * @param {string} run
   * @param {LogFilter} filter
   */
  constructor(api, run, filter) {
    this.api = api;
    this.run = run;
    this.filter = filter;
    /** @type {readonly LogLine[]} */
    this.lines = [];
    this.first = 0;
    /** @type {number | null} null before the first answer */
    this.last = null;
    /** Whether there are older lines. */
    this.more = false;
    this.dropped = 0;
    this.removed = 0;
    /** By how many lines the lines loaded earlier have moved down, so that a view can keep its position. */
    this.shift = 0;
  }

  /**
   * Load what has arrived since the last time; the newest lines the first time.
   * @param {AbortSignal} [signal]
   * @returns {Promise<boolean>} whether anything has changed
   */
  async update(signal) {
    const isFirst = this.last === null;
    const answer = await this.#ask(isFirst ? {} : { after: this.last }, signal);
    if (isFirst) {
      this.first = answer.first;
      this.more = answer.more;
    }
    this.last = answer.last;
    if (answer.lines.length === 0) return isFirst;
    const lines = [...this.lines, ...answer.lines];
    if (lines.length > MAX_LINES) {
      this.shift -= lines.length - MAX_LINES;
      this.lines = lines.slice(-MAX_LINES);
      this.first = this.lines[0].id;
      this.more = true;
    } else this.lines = lines;
    return true;
  }

  /**
   * Load the lines before the first one; of a search perhaps none, but an earlier place to go on from.
   * @param {AbortSignal} [signal]
   */
  async older(signal) {
    const answer = await this.#ask({ before: this.first }, signal);
    this.lines = [...answer.lines, ...this.lines].slice(0, MAX_LINES);
    this.first = answer.first;
    this.more = answer.more;
    this.shift += answer.lines.length;
  }

  /**
   * @param {Record<string, unknown>} place
   * @param {AbortSignal} [signal]
   */
  async #ask(place, signal) {
    const answer = await this.api.lines(this.run, { ...this.filter, ...place, limit: PAGE_LINES }, signal);
    this.dropped = answer.dropped;
    this.removed = answer.removed;
    return answer;
  }
}
