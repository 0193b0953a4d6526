// @ts-check
/** Several runs in the same charts: one chart per series, one line per run. */
import { html, useEffect, useSignal } from '../../../vendor/ui.js';
import { rankLines } from '../../charts/picture.js';
import { ChartSections } from '../../components/chart-sections.js';
import { ChartToolbar } from '../../components/chart-toolbar.js';
import { EmptyState, Loading } from '../../components/placeholders.js';
import { orderKeys } from '../../data/series-names.js';
import { state } from '../../data/state.js';
import { pluralize } from '../../format/numbers.js';
import { routeHref } from '../../routing/links.js';
import { CompareTable } from './compare-table.js';

function NothingSelected() {
  return html`<${EmptyState} whole title="Nothing to compare">
    <p>Select two or more runs in <a href=${routeHref({ page: 'runs' })}>the list of runs</a>.</p>
  <//>`;
}

/** @param {{app: App, ids: string[]}} props */
export function ComparePage({ app, ids }) {
  const hidden = useSignal(/** @type {Set<string>} */ (new Set()));
  useEffect(() => {
    document.title = 'Compare · ReCIS Monitor';
  }, []);
  const runs = ids.flatMap((id) => state.runs.value.get(id) ?? []);
  if (ids.length === 0) return html`<${NothingSelected} />`;
  if (runs.length === 0) return html`<${Loading} />`;
  const toggle = (/** @type {string} */ id) => {
    const next = new Set(hidden.value);
    if (!next.delete(id)) next.add(id);
    hidden.value = next;
    app.charts.redraw();
  };
  /** @type {LineBuilder} */
  const lines = (lists) =>
    lists.flatMap((list, i) => {
      const { id, name } = runs[i];
      return hidden.value.has(id) ? [] : rankLines(list, app.palette.colors, name || id, i);
    });
  const keys = orderKeys(new Set(runs.flatMap((run) => Object.keys(run.summary))));
  const sources = (/** @type {string} */ key) => runs.map((run) => ({ run: run.id, key }));
  const shown = runs.filter((run) => !hidden.value.has(run.id));
  return html`<div class="bar">
      <h1>Compare</h1>
      <span class="muted">${shown.length} of ${pluralize(runs.length, 'run')}</span>
    </div>
    <${CompareTable} app=${app} runs=${runs} hidden=${hidden.value} toggle=${toggle} />
    <${ChartToolbar} app=${app} />
    <${ChartSections} app=${app} keys=${keys} sources=${sources} lines=${lines} />`;
}
