// @ts-check
/** Several runs in the same charts: one chart per series, one line per run. */
import { html, useEffect, useMemo } from '../../../vendor/ui.js';
import { rankLines } from '../../charts/picture.js';
import { ratioLines } from '../../charts/ratio.js';
import { assignStyles } from '../../charts/run-styles.js';
import { ChartSections } from '../../components/chart-sections.js';
import { ChartToolbar } from '../../components/chart-toolbar.js';
import { EmptyState, Loading } from '../../components/placeholders.js';
import { orderKeys } from '../../data/series-names.js';
import { loadRunStyles, saveRunStyles } from '../../data/settings.js';
import { setView, state, toggleItem } from '../../data/state.js';
import { pluralize } from '../../format/numbers.js';
import { routeHref } from '../../routing/links.js';
import { CompareList } from './compare-list.js';
import { RunDifferences } from './run-differences.js';

function NothingSelected() {
  return html`<${EmptyState} whole title="Nothing to compare">
    <p>Select two or more runs in <a href=${routeHref({ page: 'runs' })}>the list of runs</a>.</p>
  <//>`;
}

/** @param {{ids: string[]}} props */
function UnknownRuns({ ids }) {
  if (ids.length === 0) return null;
  const text = `${pluralize(ids.length, 'run')} not found: ${ids.join(', ')}`;
  return html`<p class="alert" role="status"><span class="name" title=${text}>${text}</span></p>`;
}

/** Whether the values of the runs are drawn, or by how much they differ from those of the reference. */
function RatioChoice() {
  const { ratio } = state.view.value;
  const choice = (/** @type {string} */ label, /** @type {boolean} */ value, /** @type {string} */ title) =>
    html`<button aria-pressed=${ratio === value} onClick=${() => setView({ ratio: value })} title=${title}>
      ${label}
    </button>`;
  return html`<span class="segments" role="group" aria-label="Values">
    ${choice('Overlay', false, 'The values of each run')}
    ${choice('Ratio', true, 'The values of each run, divided by those of the reference at the same step or time')}
  </span>`;
}

/** @param {{app: App, runs: Run[]}} props */
function Comparison({ app, runs }) {
  const ids = runs.map((run) => run.id);
  const numbers = useMemo(() => assignStyles(loadRunStyles(), ids), [ids.join(' ')]);
  useEffect(() => saveRunStyles(numbers), [numbers]);
  const hidden = new Set(state.view.value.hidden);
  const shown = runs.filter(({ id }) => !hidden.has(id));
  /** @type {LineBuilder} */
  const lines = (lists) => {
    const { hidden: left, ratio, x: axis } = state.view.peek();
    const all = lists.map((list, i) => {
      const { id, name } = runs[i];
      return rankLines(list, app.palette.colors, name || id, numbers.get(id));
    });
    const [reference = [], ...others] = all.filter((_, i) => !left.includes(runs[i].id));
    const drawn = [reference, ...others].flat();
    return ratio ? ratioLines(drawn, reference, axis) : drawn;
  };
  const keys = orderKeys(new Set(runs.flatMap((run) => Object.keys(run.summary))));
  const sources = (/** @type {string} */ key) => runs.map((run) => ({ run: run.id, key }));
  const toggle = (/** @type {string} */ id) => toggleItem('hidden', id);
  return html`<div class="compare">
    <${CompareList} app=${app} runs=${runs} numbers=${numbers} hidden=${hidden} toggle=${toggle} />
    <div class="wall">
      <${ChartToolbar} app=${app} run=${shown[0] ?? runs[0]}><${RatioChoice} /><//>
      <${RunDifferences} app=${app} runs=${shown} numbers=${numbers} />
      <${ChartSections} app=${app} keys=${keys} sources=${sources} lines=${lines} project=${runs[0].project} />
    </div>
  </div>`;
}

/** @param {{app: App, ids: string[]}} props */
export function ComparePage({ app, ids }) {
  useEffect(() => {
    document.title = 'Compare · ReCIS Monitor';
  }, []);
  const runs = ids.flatMap((id) => state.runs.value.get(id) ?? []);
  if (ids.length === 0) return html`<${NothingSelected} />`;
  if (runs.length === 0 && state.load.value !== 'ready') return html`<${Loading} />`;
  const shown = runs.filter((run) => !state.view.value.hidden.includes(run.id));
  return html`<div class="bar">
      <h1>Compare</h1>
      <span class="muted">${shown.length} of ${pluralize(runs.length, 'run')}</span>
    </div>
    <${UnknownRuns} ids=${state.unknownRuns.value} />
    ${runs.length > 0 && html`<${Comparison} app=${app} runs=${runs} />`}`;
}
