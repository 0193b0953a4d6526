// @ts-check
/** Names of series: their order, sections and search, and the hash tables they name. Pure. */

const FIRST = ['loss', 'qps', 'samples_per_second'];
const MAX_MATCHED_CHARACTERS = 2000;

/**
 * @param {string} a
 * @param {string} b
 */
const byName = (a, b) => a.localeCompare(b, 'en', { numeric: true });

/** @param {string} key */
function place(key) {
  const first = FIRST.indexOf(key);
  if (first >= 0) return first;
  if (key.startsWith('monitor/')) return 1000;
  if (key.startsWith('system/')) return 900;
  if (key.startsWith('time/')) return 150;
  return key.includes('/') ? 200 : 100;
}

/**
 * Order names: the most important first, then those without a section, those of the machine and the monitor's own last.
 * @param {Iterable<string>} keys
 */
export function orderKeys(keys) {
  return [...keys].sort((a, b) => place(a) - place(b) || byName(a, b));
}

/**
 * Return the section of a name: everything before its last slash, or an empty string.
 * @param {string} key
 */
export function sectionOf(key) {
  const slash = key.lastIndexOf('/');
  return slash > 0 ? key.slice(0, slash) : '';
}

/**
 * Return the part of a name after its section.
 * @param {string} key
 */
export function titleOf(key) {
  const section = sectionOf(key);
  return section ? key.slice(section.length + 1) : key;
}

/** The whole whose parts are the other series of its section. */
export const STEP_TIME = 'time/step_ms';
const PARTS = ['data_wait', 'forward', 'backward', 'optimizer', 'hooks', 'filter_pass', 'evaluate', 'checkpoint'];

/** @param {string} key */
export const partName = (key) => titleOf(key).replace(/_ms$/, '').replaceAll('_', ' ');

/**
 * Return the parts of a step's time among some names, in the order in which they follow each other in a step.
 * @param {readonly string[]} keys
 */
export function partsOf(keys) {
  const position = (/** @type {string} */ key) => {
    const at = PARTS.indexOf(titleOf(key).replace(/_ms$/, ''));
    return at >= 0 ? at : key === 'time/other_ms' ? PARTS.length + 1 : PARTS.length;
  };
  return keys
    .filter((key) => sectionOf(key) === 'time' && key !== STEP_TIME)
    .sort((a, b) => position(a) - position(b) || byName(a, b));
}

/**
 * Group names by section, in the order in which the sections first appear.
 * @param {readonly string[]} keys
 * @returns {[section: string, keys: string[]][]}
 */
export function groupBySection(keys) {
  /** @type {Map<string, string[]>} */
  const sections = new Map();
  for (const key of keys) {
    const section = sectionOf(key);
    sections.set(section, [...(sections.get(section) ?? []), key]);
  }
  return [...sections];
}

/**
 * Return the names that match a search text: a regular expression, or plain text where it is not a valid one.
 * @param {readonly string[]} keys
 * @param {string} text
 */
export function searchKeys(keys, text) {
  if (!text) return keys;
  try {
    const pattern = new RegExp(text, 'i');
    return keys.filter((key) => pattern.test(key.slice(0, MAX_MATCHED_CHARACTERS)));
  } catch {
    return keys.filter((key) => key.toLowerCase().includes(text.toLowerCase()));
  }
}

/**
 * Return the names of the hash tables, from filter passes and from series called `table/{name}/rows`.
 * @param {readonly FilterPass[]} passes
 * @param {readonly string[]} keys
 */
export function tableNames(passes, keys) {
  const names = new Set(passes.map((pass) => pass.table));
  for (const key of keys) {
    const match = /^table\/(.+)\/rows$/.exec(key);
    if (match) names.add(match[1]);
  }
  return [...names].sort(byName);
}
