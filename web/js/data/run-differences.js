// @ts-check
/** What several runs say about themselves, side by side: settings, program, machine, versions, packages. Pure. */
import { configFacts, processFacts } from './process-info.js';

/** @typedef {import('./process-info.js').Fact} Fact */
/** @typedef {Map<string, Map<string, string>>} Description texts by label, by title of their group */
/** @typedef {{label: string, texts: (string | null)[], differs: boolean}} ComparedRow a text per run */
/** @typedef {{title: string, rows: ComparedRow[]}} ComparedGroup */

/** Differs between any two processes and explains nothing. */
const OWN = new Set(['Process']);

/**
 * Return what a run says about itself, by group and label. Of several ranks the first with a command line speaks.
 * @param {InfoAnswer} answer
 * @returns {Description}
 */
export function describeRun({ config, ranks }) {
  const process = ranks.find((one) => one.info.command) ?? ranks[0];
  const info = process?.info ?? {};
  const facts = (/** @type {Record<string, string | null>} */ values) =>
    Object.entries(values).map(([name, value]) => /** @type {Fact} */ ([name, value ?? 'not shown']));
  const command = /** @type {Fact[]} */ (info.command ? [['Command line', info.command]] : []);
  const groups = new Map([
    ['Configuration', configFacts(config)],
    ['Program', command],
  ]);
  for (const { title, facts: found } of process && Object.keys(info).length > 0 ? processFacts(process) : []) {
    groups.set(title, [...(groups.get(title) ?? []), ...found.filter(([label]) => !OWN.has(label))]);
  }
  groups.set('Packages', facts(info.packages ?? {}));
  groups.set('Environment', facts(info.environment ?? {}));
  return new Map([...groups].map(([title, found]) => [title, new Map(found)]));
}

/**
 * Return the rows of all descriptions, one text per run. A run that says nothing in a group (an older client, `collect`
 * switched off) is no difference; one that lacks a single entry is.
 * @param {readonly Description[]} runs
 * @returns {ComparedGroup[]} without empty groups
 */
export function compareRuns(runs) {
  const titles = new Set(runs.flatMap((run) => [...run.keys()]));
  const group = (/** @type {string} */ title) => {
    const parts = runs.map((run) => run.get(title) ?? new Map());
    const labels = new Set(parts.flatMap((part) => [...part.keys()]));
    const row = (/** @type {string} */ label) => {
      const texts = parts.map((part) => part.get(label) ?? null);
      const said = texts.filter((_, i) => parts[i].size > 0);
      return { label, texts, differs: new Set(said).size > 1 };
    };
    return { title, rows: [...labels].map(row) };
  };
  return [...titles].map(group).filter(({ rows }) => rows.length > 0);
}

/**
 * Return only the rows that differ.
 * @param {readonly ComparedGroup[]} groups
 * @returns {ComparedGroup[]} without empty groups
 */
export function onlyDifferences(groups) {
  return groups
    .map(({ title, rows }) => ({ title, rows: rows.filter(({ differs }) => differs) }))
    .filter(({ rows }) => rows.length > 0);
}

/**
 * Return by how much a value differs from that of the reference run, or null where one of them has no finite number.
 * @param {unknown} value
 * @param {unknown} reference
 * @returns {number | null}
 */
export function deltaOf(value, reference) {
  if (typeof value !== 'number' || typeof reference !== 'number') return null;
  const delta = value - reference;
  return Number.isFinite(delta) ? delta : null;
}

/**
 * Return by which share a value differs from that of the reference run, or null where that cannot be told.
 * @param {unknown} value
 * @param {unknown} reference
 * @returns {number | null}
 */
export function changeOf(value, reference) {
  const delta = deltaOf(value, reference);
  return delta === null || reference === 0 ? null : delta / Math.abs(Number(reference));
}
