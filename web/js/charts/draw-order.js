// @ts-check
/** Which charts are drawn first, and for how long, when there is not enough time for all. Pure. */

/** Time in a frame for charts that can wait. */
const BUDGET_MS = 8;
/** Time for charts that are seen, or about to be, and have not been drawn: an empty card is worse than a late frame. */
const URGENT_BUDGET_MS = 24;
/** How far from the window a chart is about to be seen, as a share of the window's height. */
const URGENT_SHARE = 0.3;

/**
 * Return charts by their distance from the window, those within it first and in their order, and how much of a frame
 * may have passed when one is drawn.
 * @template {{host: Element}} M
 * @template {{drawn: boolean}} S
 * @param {[member: M, status: S][]} charts
 * @param {number} height of the window
 */
export function drawOrder(charts, height) {
  const measured = charts.map(([member, status]) => {
    const { top, bottom } = member.host.getBoundingClientRect();
    const away = Math.max(0, top - height, -bottom);
    const isUrgent = !status.drawn && away <= height * URGENT_SHARE;
    return { member, status, away, isUrgent, budget: isUrgent ? URGENT_BUDGET_MS : BUDGET_MS };
  });
  return measured.sort((a, b) => Number(b.isUrgent) - Number(a.isUrgent) || a.away - b.away);
}
