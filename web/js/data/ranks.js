// @ts-check
/** Which ranks of a run charts show: one, each as a line, or all in a band. Pure. */

/** More ranks than this are shown as a band unless somebody chooses one. */
const MAX_LINES_BY_DEFAULT = 8;
/** More lines than this cannot be told apart, and are a band even when each rank is asked for. */
export const MAX_RANK_LINES = 16;

/**
 * Return what charts show for the choice in the view.
 * @param {View['rank']} choice null without one
 * @param {readonly number[]} ranks of the run
 * @returns {Scope['rank']}
 */
export function shownRank(choice, ranks) {
  if (typeof choice === 'number') return choice;
  if (ranks.length < 2) return ranks[0] ?? 0;
  if (choice === null) return ranks.length > MAX_LINES_BY_DEFAULT ? 'band' : ranks[0];
  return choice === 'all' && ranks.length > MAX_RANK_LINES ? 'band' : choice;
}

/**
 * Return what charts show that add ranks up and know no band: one rank, or each.
 * @param {View['rank']} choice
 * @param {readonly number[]} ranks
 * @returns {number | 'all'}
 */
export function shownRankWithoutBand(choice, ranks) {
  const shown = shownRank(choice, ranks);
  return shown === 'band' ? (ranks[0] ?? 0) : shown;
}
