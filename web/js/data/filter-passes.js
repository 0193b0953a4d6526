// @ts-check
/** Filter passes: kept in order, and summed up per table. Pure. */

const MAX_PASSES = 4000;

/** @param {FilterPass} pass */
const identity = (pass) => `${pass.rank} ${pass.step} ${pass.table}`;

/**
 * Merge passes by rank, step and table; keep the newest in step order.
 * @param {readonly FilterPass[]} known
 * @param {readonly FilterPass[]} added
 * @returns {FilterPass[]}
 */
export function mergePasses(known, added) {
  const merged = new Map(known.map((pass) => [identity(pass), pass]));
  for (const pass of added) merged.set(identity(pass), pass);
  return [...merged.values()].sort((a, b) => a.step - b.step).slice(-MAX_PASSES);
}

/**
 * Return the newest pass of each rank over one table.
 * @param {readonly FilterPass[]} passes in step order
 * @param {string} table
 */
export function newestPasses(passes, table) {
  const ranks = new Map(passes.filter((pass) => pass.table === table).map((pass) => [pass.rank, pass]));
  return [...ranks.values()];
}

/**
 * Add up a field of some passes; null without any.
 * @param {readonly FilterPass[]} passes
 * @param {'rows_after' | 'admitted' | 'evicted' | 'bytes'} field
 */
export function sumPasses(passes, field) {
  return passes.length ? passes.reduce((sum, pass) => sum + pass[field], 0) : null;
}

/**
 * Return the size of all tables on all ranks: from the newest passes, else from the newest values of `table/…`.
 * @param {readonly FilterPass[]} passes in step order
 * @param {Run['summary']} summary
 * @param {'rows' | 'bytes'} quantity
 * @returns {number | null} null without any table
 */
export function totalTableSize(passes, summary, quantity) {
  const newest = new Map(passes.map((pass) => [`${pass.rank} ${pass.table}`, pass]));
  if (newest.size) return sumPasses([...newest.values()], quantity === 'rows' ? 'rows_after' : 'bytes');
  const keys = Object.keys(summary).filter((key) => key.startsWith('table/') && key.endsWith(`/${quantity}`));
  return keys.length ? keys.reduce((sum, key) => sum + Number(summary[key]), 0) : null;
}
