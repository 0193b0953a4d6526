// @ts-check
/** Which series share a chart, and in which section it is: pinned ones first. Pure. */
import { groupBySection, partsOf, STEP_TIME, sectionOf, titleOf } from './series-names.js';

/** The name of the section of pinned charts, which no series has. */
export const PINNED = '//pinned';
const TABLE = /^table\/(.+)\/[^/]+$/;
const TABLE_FIELDS = ['rows', 'admitted', 'evicted', 'rejected'];

/**
 * Return the names of some series beside each other: without their section where they share it.
 * @param {readonly string[]} keys
 */
export function shortNames(keys) {
  const [first = '', ...others] = keys.map(sectionOf);
  return others.every((section) => section === first) ? keys.map(titleOf) : [...keys];
}

/**
 * Return the chart of one series.
 * @param {string} key
 * @returns {ChartSpec}
 */
const singleChart = (key) => ({ id: [key], kind: 'lines', title: titleOf(key), label: key, keys: [key] });

/**
 * Return a chart of several series.
 * @param {readonly string[]} keys
 * @returns {ChartSpec}
 */
const combinedChart = (keys) => ({
  id: [...keys],
  kind: 'lines',
  title: shortNames(keys).join(', '),
  label: keys.join(', '),
  keys: [...keys],
});

/**
 * Return the chart of the series of a hash table; its rows come first.
 * @param {string} section `table/{name}`
 * @param {readonly string[]} members
 * @returns {ChartSpec}
 */
function tableChart(section, members) {
  const place = (/** @type {string} */ key) => (TABLE_FIELDS.indexOf(titleOf(key)) + 1 || TABLE_FIELDS.length + 1) - 1;
  const keys = [...members].sort((a, b) => place(a) - place(b));
  return { id: [`${section}/`], kind: 'table', title: section.slice('table/'.length), label: section, keys };
}

/**
 * Return the chart of the parts of a step's time.
 * @param {readonly string[]} members
 * @returns {ChartSpec}
 */
const stackChart = (members) => ({
  ...{ id: ['time/'], kind: 'stack', title: 'Where a step’s time goes', label: STEP_TIME },
  keys: [...partsOf(members), STEP_TIME],
});

/**
 * Return the charts of a section, in the section in which they are shown.
 * @param {string} section
 * @param {readonly string[]} members
 * @param {boolean} grouped
 * @returns {[section: string, charts: ChartSpec[]]}
 */
function sectionCharts(section, members, grouped) {
  if (grouped && members.includes(STEP_TIME)) return [section, [stackChart(members)]];
  if (grouped && members.length > 1 && TABLE.test(members[0])) return ['table', [tableChart(section, members)]];
  return [section, members.map(singleChart)];
}

/** @param {readonly string[]} id */
const idText = (id) => JSON.stringify(id);

/**
 * Return the charts of each section.
 * @param {readonly string[]} keys in display order
 * @param {boolean} grouped whether the series of a hash table, and the parts of a step's time, share a chart
 */
function chartsBySection(keys, grouped) {
  /** @type {Map<string, ChartSpec[]>} */
  const sections = new Map();
  for (const [prefix, members] of groupBySection(keys)) {
    const [section, charts] = sectionCharts(prefix, members, grouped);
    sections.set(section, [...(sections.get(section) ?? []), ...charts]);
  }
  return sections;
}

/**
 * Return the pinned charts of series that exist, in the order of the pins.
 * @param {readonly string[]} keys
 * @param {readonly (readonly string[])[]} pins
 * @param {boolean} grouped
 */
function pinnedCharts(keys, pins, grouped) {
  const known = new Set(keys);
  const groups = [...chartsBySection(keys, grouped).values()].flat().filter((chart) => !known.has(chart.id[0]));
  const found = pins.flatMap((id) => {
    const group = groups.find((chart) => idText(chart.id) === idText(id));
    if (group) return [group];
    const existing = id.filter((key) => known.has(key));
    if (existing.length === 0) return [];
    return [{ ...(existing.length === 1 ? singleChart(existing[0]) : combinedChart(existing)), id: [...id] }];
  });
  return [...new Map(found.map((chart) => [idText(chart.id), chart])).values()];
}

/**
 * Return the sections of a page of charts, the pinned ones first. A pinned chart is not in its own section again; the
 * series of one that the user has combined are.
 * @param {readonly string[]} keys of all series, in display order
 * @param {readonly string[]} found those that a search has found
 * @param {readonly (readonly string[])[]} pins
 * @param {boolean} grouped
 * @returns {[section: string, charts: ChartSpec[]][]}
 */
export function chartSections(keys, found, pins, grouped) {
  const searched = found.length < keys.length;
  const shown = new Set(found);
  const pinned = pinnedCharts(keys, pins, grouped).filter((chart) => chart.keys.some((key) => shown.has(key)));
  const ids = new Set(pinned.map((chart) => idText(chart.id)));
  /** @type {[string, ChartSpec[]][]} */
  const sections = [[PINNED, pinned]];
  for (const [section, charts] of chartsBySection(found, grouped && !searched)) {
    sections.push([section, charts.filter((chart) => !ids.has(idText(chart.id)))]);
  }
  return sections.filter(([, charts]) => charts.length > 0);
}
