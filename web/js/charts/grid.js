// @ts-check
/** How sections of cards share the columns of a page, so that no card is alone in a row. Pure. */

/** Cards may become this much wider than their smallest width, or a row is left with a gap. */
const MIN_SHARE = 0.6;

/**
 * Return how many cards of some width fit beside each other.
 * @param {number} width of the page, in pixels
 * @param {number} card smallest width of a card
 * @param {number} gap between cards
 */
export const fittingColumns = (width, card, gap) => Math.max(1, Math.floor((width + gap) / (card + gap)));

/**
 * Return the number of columns for the cards of a section: the number near the one that fits with the fewest empty
 * places in the last row. A row that would be less than 60 % full keeps the width of the other rows of the page.
 * @param {number} count of cards
 * @param {number} fitting columns
 */
export function sectionColumns(count, fitting) {
  if (count <= fitting) return count >= fitting * MIN_SHARE ? count : fitting;
  const empty = (/** @type {number} */ columns) => (columns - (count % columns)) % columns;
  const isAlone = (/** @type {number} */ columns) => columns > 1 && count % columns === 1;
  let best = fitting;
  for (let columns = fitting - 1; columns >= Math.max(2, fitting * MIN_SHARE); columns--) {
    const [alone, bestAlone] = [isAlone(columns), isAlone(best)];
    if (alone === bestAlone ? empty(columns) < empty(best) : bestAlone) best = columns;
  }
  // One more column makes the cards a little narrower than they should be, and leaves none alone.
  return isAlone(best) && fitting > 1 && !isAlone(fitting + 1) ? fitting + 1 : best;
}

/** @typedef {{span: number, columns: number}} Place how many columns of the page a section has, and its own number */

/**
 * Return the places of sections: small ones that follow each other share a row.
 * @param {readonly number[]} counts the cards of each section; 0 for a section that has a row of its own
 * @param {number} fitting columns of the page
 * @returns {Place[]}
 */
export function placeSections(counts, fitting) {
  /** @type {Place[]} */
  const places = [];
  let used = 0;
  const fillRow = () => {
    const last = places.at(-1);
    if (!last || used === 0) return;
    const count = last.columns;
    last.span += fitting - used;
    last.columns = sectionColumns(count, last.span);
    used = 0;
  };
  for (const count of counts) {
    if (count === 0 || used + count > fitting) fillRow();
    if (count === 0 || count > fitting) {
      places.push({ span: fitting, columns: sectionColumns(count || fitting, fitting) });
      continue;
    }
    places.push({ span: count, columns: count });
    used += count;
  }
  fillRow();
  return places;
}
