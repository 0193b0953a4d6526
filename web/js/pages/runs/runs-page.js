// @ts-check
/** The list of runs: filters, search, and the choice of runs to compare. */
import { html, useEffect, useMemo, useRef } from '../../../vendor/ui.js';
import { onValue, SearchField } from '../../components/inputs.js';
import { EmptyState, Loading } from '../../components/placeholders.js';
import { filterRuns, sortRuns } from '../../data/run-list.js';
import { setView, state } from '../../data/state.js';
import { pluralize } from '../../format/numbers.js';
import { routeHref } from '../../routing/links.js';
import { GettingStarted } from './getting-started.js';
import { RunsTable } from './runs-table.js';

/** @type {readonly RunState[]} */
const STATES = ['running', 'stalled', 'disconnected', 'finished', 'failed'];
const SEARCH_DELAY_MS = 250;

/** @param {{runs: readonly Run[]}} props */
function StateFilter({ runs }) {
  const counts = new Map(STATES.map((name) => [name, 0]));
  for (const run of runs) counts.set(run.state, (counts.get(run.state) ?? 0) + 1);
  const choose = onValue((chosen) => setView({ state: chosen }));
  return html`<label class="field">
    <span class="visually-hidden">State</span>
    <select value=${state.view.value.state} onChange=${choose}>
      <option value="">All states (${runs.length})</option>
      ${STATES.map((name) => html`<option key=${name} value=${name}>${name} (${counts.get(name)})</option>`)}
    </select>
  </label>`;
}

function CompareLink() {
  const selected = state.view.value.picked;
  if (selected.length < 2) return null;
  const href = routeHref({ page: 'compare', runs: selected });
  return html`<a class="button primary" href=${href}>Compare ${selected.length}</a>`;
}

/**
 * The choice of another metric as a column.
 * @param {{app: App}} props
 */
function AddColumn({ app }) {
  const { metrics } = state.view.value;
  const left = state.knownMetrics.value.filter((key) => !metrics.includes(key));
  if (left.length === 0) return null;
  const add = (/** @type {any} */ event) => {
    setView({ metrics: [...metrics, event.target.value] });
    event.target.value = '';
    app.session.refresh();
  };
  return html`<label class="field">
    <span class="visually-hidden">Add a column</span>
    <select value="" onChange=${add}>
      <option value="">Add a column</option>
      ${left.map((key) => html`<option key=${key} value=${key}>${key}</option>`)}
    </select>
  </label>`;
}

/** @param {{total: number}} props */
function NoMatch({ total }) {
  const { q, state: only } = state.view.value;
  const searched = q && ` with “${q}” in its name, project, ID or tags`;
  const showAll = () => setView({ q: '', state: '' });
  return html`<${EmptyState} title="No matching runs">
    <p>There is no ${only ? `${only} run` : 'run'}${searched} among ${pluralize(total, 'run')}.</p>
    <p><button onClick=${showAll}>Show all runs</button></p>
  <//>`;
}

/**
 * Search on the server too while not all runs are loaded.
 * @param {App} app
 */
function useServerSearch(app) {
  const { q, state: only } = state.view.value;
  const allLoaded = !state.runsCursor.value;
  useEffect(() => {
    if (allLoaded || (!q && !only)) return undefined;
    const timer = setTimeout(() => app.session.searchRuns(), SEARCH_DELAY_MS);
    return () => clearTimeout(timer);
  }, [q, only, allLoaded]);
}

/** @param {{app: App}} props */
export function RunsPage({ app }) {
  const { q, state: only } = state.view.value;
  const loaded = state.runs.value;
  const ordered = useRef(/** @type {readonly Run[]} */ ([]));
  const runs = useMemo(() => sortRuns(ordered.current, loaded), [loaded]);
  ordered.current = runs;
  const shown = useMemo(() => filterRuns(runs, q, only), [runs, q, only]);
  useServerSearch(app);
  useEffect(() => {
    document.title = 'Runs · ReCIS Monitor';
  }, []);
  if (runs.length === 0 && !q && !only) {
    if (state.load.value !== 'ready') return html`<${Loading} rows=${6} />`;
    return html`<h1 class="visually-hidden">Runs</h1><${GettingStarted} />`;
  }
  const more = () => app.session.loadMoreRuns();
  return html`<div class="bar">
      <h1>Runs</h1>
      <span class="muted">${pluralize(shown.length, 'run')}</span>
      <span class="grow" />
      <${CompareLink} />
      <${AddColumn} app=${app} />
      <${StateFilter} runs=${runs} />
      <${SearchField} label="Search runs" />
    </div>
    ${shown.length ? html`<${RunsTable} app=${app} runs=${shown} />` : html`<${NoMatch} total=${runs.length} />`}
    ${state.runsCursor.value && html`<p class="more"><button onClick=${more}>Show more runs</button></p>`}`;
}
