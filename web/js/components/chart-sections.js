// @ts-check
/** Charts in one foldable section per prefix of their names. */
import { html } from '../../vendor/ui.js';
import { groupBySection, STEP_TIME, searchKeys, titleOf } from '../data/series-names.js';
import { setView, state, toggleItem } from '../data/state.js';
import { pluralize } from '../format/numbers.js';
import { ChartCard } from './chart-card.js';
import { EmptyState } from './placeholders.js';
import { StackCard } from './stack-card.js';

const HEIGHT_PX = { inSection: 150, first: 190, stack: 190 };

/**
 * @typedef {object} ChartSectionsProps
 * @property {App} app
 * @property {readonly string[]} keys
 * @property {(key: string) => SeriesSource[]} sources
 * @property {LineBuilder} lines
 * @property {boolean} [owned] whether each figure says whose it is
 * @property {string} [stacked] run whose step time is one stack of its parts
 */

/** @param {string} name */
const startsOpen = (name) => name !== 'monitor' && !name.startsWith('monitor/');

/** @param {ChartSectionsProps & {section: string}} props */
function Cards({ app, keys, sources, lines, owned, section, stacked }) {
  if (stacked && keys.includes(STEP_TIME)) {
    return html`<${StackCard} app=${app} run=${stacked} keys=${keys} height=${HEIGHT_PX.stack} />`;
  }
  const height = section ? HEIGHT_PX.inSection : HEIGHT_PX.first;
  const card = (/** @type {string} */ key) => html`<${ChartCard}
    key=${key}
    app=${app}
    label=${key}
    title=${titleOf(key)}
    sources=${sources(key)}
    height=${height}
    lines=${lines}
    owned=${owned}
  />`;
  return html`<div class="cards">${keys.map(card)}</div>`;
}

/** @param {ChartSectionsProps & {section: string}} props */
function ChartSection(props) {
  const { section, keys } = props;
  const open = startsOpen(section) !== state.view.value.folded.includes(section);
  if (!section) return html`<h2 class="visually-hidden">Metrics</h2><${Cards} ...${props} />`;
  const toggle = (/** @type {any} */ event) => {
    if (event.currentTarget.open !== open) toggleItem('folded', section);
  };
  return html`<details class="section" open=${open} onToggle=${toggle}>
    <summary><h2 class="name" title=${section}>${section}</h2><span class="muted">${keys.length}</span></summary>
    ${open && html`<${Cards} ...${props} />`}
  </details>`;
}

function NoMetrics() {
  return html`<${EmptyState} title="No metrics yet"><p>Charts appear here with the first report of a metric.</p><//>`;
}

/** @param {{total: number}} props */
function NoMatch({ total }) {
  const showAll = () => setView({ q: '' });
  return html`<${EmptyState} title="No matching charts">
    <p>None of ${pluralize(total, 'series', 'series')} has “${state.view.value.q}” in its name.</p>
    <p><button onClick=${showAll}>Show all charts</button></p>
  <//>`;
}

/**
 * The charts that the search of the view finds; the parts of a step's time have charts of their own in a search only.
 * @param {ChartSectionsProps} props
 */
export function ChartSections({ app, keys, sources, lines, owned = false, stacked = '' }) {
  if (keys.length === 0) return html`<${NoMetrics} />`;
  const found = searchKeys(keys, state.view.value.q);
  if (found.length === 0) return html`<${NoMatch} total=${keys.length} />`;
  const section = (/** @type {[string, string[]]} */ [name, members]) => html`<${ChartSection}
    key=${name}
    app=${app}
    section=${name}
    keys=${members}
    sources=${sources}
    lines=${lines}
    owned=${owned}
    stacked=${state.view.value.q ? '' : stacked}
  />`;
  return html`${groupBySection(found).map(section)}`;
}
