// @ts-check
/** Ranks in words. Pure. */

const MAX_NAMED = 8;

/**
 * Name ranks: "rank 3", "ranks 0, 1 and 4", "ranks 0, 1, … and 56 others".
 * @param {readonly (number | string)[]} ranks
 */
export function formatRanks(ranks) {
  if (ranks.length === 1) return `rank ${ranks[0]}`;
  const others = ranks.length - MAX_NAMED;
  const named = others > 1 ? [...ranks.slice(0, MAX_NAMED), `${others} others`] : ranks;
  return `ranks ${named.slice(0, -1).join(', ')} and ${named.at(-1)}`;
}
