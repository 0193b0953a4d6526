// @ts-check
/**
 * Which texts a regular expression matches, and where. Also the script of a worker: backtracking can take practically
 * forever, and only a worker can be stopped then. Otherwise pure.
 */

const FLAGS = 'giu';

/**
 * Return the regular expression of a search in slashes, `/lost \d+/`, or null when the search is words.
 * @param {string} search
 */
export const patternOf = (search) => /^\/(.+)\/$/.exec(search.trim())?.[1] ?? null;

/**
 * Return why a pattern is no regular expression; empty when it is one.
 * @param {string} pattern
 */
export function patternProblem(pattern) {
  try {
    new RegExp(pattern, FLAGS);
    return '';
  } catch (error) {
    return /** @type {Error} */ (error).message;
  }
}

/**
 * Divide each text at the matches: every second part is one of them. Return null for a text without a match.
 * @param {string} pattern
 * @param {readonly string[]} texts
 * @returns {(string[] | null)[]}
 */
export function matchTexts(pattern, texts) {
  const expression = new RegExp(pattern, FLAGS);
  return texts.map((text) => {
    const parts = [];
    let end = 0;
    let isMatch = false;
    for (const { index, 0: found } of text.matchAll(expression)) {
      isMatch = true;
      if (found === '') continue;
      parts.push(text.slice(end, index), found);
      end = index + found.length;
    }
    return isMatch ? [...parts, text.slice(end)] : null;
  });
}

if ('WorkerGlobalScope' in globalThis) {
  globalThis.onmessage = ({ data: { pattern, texts } }) => globalThis.postMessage(matchTexts(pattern, texts));
}
