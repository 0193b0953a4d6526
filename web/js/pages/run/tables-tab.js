// @ts-check
/** The hash tables of a run: controls, an overview, charts per table, and recent filter passes. */
import { html } from '../../../vendor/ui.js';
import { flowBars, rankLines } from '../../charts/picture.js';
import { ChartCard } from '../../components/chart-card.js';
import { ChartToolbar } from '../../components/chart-toolbar.js';
import { EmptyState, Loading } from '../../components/placeholders.js';
import { RankSelect } from '../../components/rank-select.js';
import { currentSeries } from '../../data/series.js';
import { state, tables } from '../../data/state.js';
import { formatCompact } from '../../format/numbers.js';
import { FilterPasses } from './filter-passes.js';
import { TableControls } from './table-controls.js';
import { TableOverview, tableAnchor } from './table-overview.js';

const HEIGHT_PX = 170;

/**
 * Format the newest admitted and evicted rows as signed numbers.
 * @param {readonly SeriesList[]} lists
 */
function flowText(lists) {
  if (lists.every((list) => list.length === 0)) return '–';
  const [admitted, evicted] = lists.map((list) =>
    currentSeries(list).reduce((sum, { n, last }) => sum + (n ? last[n - 1] : 0), 0),
  );
  return `+${formatCompact(admitted)}  −${formatCompact(evicted)}`;
}

/** @param {{app: App, run: Run, table: string, number: number}} props */
function TableCharts({ app, run, table, number }) {
  const source = (/** @type {string} */ field) => ({ run: run.id, key: `table/${table}/${field}` });
  /** @type {LineBuilder} */
  const rowLines = ([rows]) => rankLines(rows, app.palette.colors);
  /** @type {LineBuilder} */
  const bars = ([admitted, evicted]) => flowBars(admitted, evicted, app.palette.colors);
  return html`<div class="pair" id=${tableAnchor(number)}>
    <h2 class="name" title=${table}>${table}</h2>
    <div class="cards two">
      <${ChartCard}
        app=${app}
        title="Rows"
        label=${`table/${table}/rows`}
        sources=${[source('rows')]}
        height=${HEIGHT_PX}
        lines=${rowLines}
        owned=${run.ranks.length > 1}
      />
      <${ChartCard}
        app=${app}
        title="Admitted and evicted"
        label=${`table/${table}/admitted and evicted`}
        kind="bars"
        sources=${[source('admitted'), source('evicted')]}
        height=${HEIGHT_PX}
        marks=${false}
        lines=${bars}
        value=${flowText}
      />
    </div>
  </div>`;
}

function NoTables() {
  return html`<${EmptyState} title="No hash tables yet">
    <p>Tables appear after the first pass of a <code>HashTableFilterHook</code>. To add one to the trainer:</p>
    <p><code>trainer.add_hook(HashTableFilterHook(filter_interval=100))</code></p>
  <//>`;
}

/** @param {{app: App, run: Run}} props */
export function TablesTab({ app, run }) {
  const names = tables.value;
  if (state.load.value === 'loading') return html`<${Loading} />`;
  if (names.length === 0) return html`<${TableControls} app=${app} run=${run} /><${NoTables} />`;
  const charts = (/** @type {string} */ table, /** @type {number} */ number) =>
    html`<${TableCharts} key=${table} app=${app} run=${run} table=${table} number=${number} />`;
  return html`<${TableControls} app=${app} run=${run} />
    <${TableOverview} names=${names} />
    <${ChartToolbar} app=${app} run=${run} search=${false}><${RankSelect} ranks=${run.ranks} app=${app} /><//>
    ${names.map(charts)}
    <h2>Recent filter passes</h2>
    <${FilterPasses} ranks=${run.ranks} />`;
}
