// @ts-check
/** The list of runs: filters, search, and the selection. */
import { html, useEffect, useMemo, useRef } from '../../../vendor/ui.js';
import { onValue, SearchField } from '../../components/inputs.js';
import { lazyView } from '../../components/lazy-view.js';
import { EmptyState, Loading } from '../../components/placeholders.js';
import { ARCHIVED, filterRuns } from '../../data/run-list.js';
import { sortRuns } from '../../data/run-order.js';
import { setView, state, toggleItem } from '../../data/state.js';
import { formatInteger, pluralize } from '../../format/numbers.js';
import { GettingStarted } from './getting-started.js';
import { RunsTable } from './runs-table.js';

/** @type {readonly RunState[]} */
const STATES = ['running', 'stalled', 'disconnected', 'finished', 'failed'];
const SEARCH_DELAY_MS = 250;

const SelectionBar = lazyView(
  async () => (await import('./selection-bar.js')).SelectionBar,
  () => null,
);

/**
 * How many of the runs are in each state; a click shows only those.
 * @param {{runs: readonly Run[]}} props
 */
function StateCounts({ runs }) {
  const only = state.view.value.state;
  const counts = new Map(STATES.map((name) => [name, 0]));
  for (const run of runs) counts.set(run.state, (counts.get(run.state) ?? 0) + 1);
  const choose = (/** @type {string} */ name) => () => setView({ state: only === name ? '' : name });
  return STATES.filter((name) => counts.get(name) || only === name).map(
    (name) => html`<button
      key=${name}
      class=${`quiet count ${name}`}
      aria-pressed=${only === name}
      onClick=${choose(name)}
    >${formatInteger(counts.get(name))} ${name}</button>`,
  );
}

/** @param {{runs: readonly Run[]}} props */
function StateFilter({ runs }) {
  const choose = onValue((chosen) => setView({ state: chosen, picked: [] }));
  return html`<label class="field">
    <span class="visually-hidden">State</span>
    <select value=${state.view.value.state} onChange=${choose}>
      <option value="">All states (${runs.length})</option>
      ${STATES.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
      <option value=${ARCHIVED}>archived</option>
    </select>
  </label>`;
}

/** @param {{runs: readonly Run[]}} props */
function ProjectFilter({ runs }) {
  const { project } = state.view.value;
  const projects = [...new Set([...(project ? [project] : []), ...runs.map((run) => run.project)])].sort();
  if (projects.length < 2 && !project) return null;
  return html`<label class="field">
    <span class="visually-hidden">Project</span>
    <select value=${project} onChange=${onValue((chosen) => setView({ project: chosen }))}>
      <option value="">All projects</option>
      ${projects.map((name) => html`<option key=${name} value=${name}>${name || '(unnamed)'}</option>`)}
    </select>
  </label>`;
}

/** The tags by which the list is filtered. */
function TagFilter() {
  return state.view.value.tags.map(
    (tag) => html`<button
      key=${tag}
      class="tag"
      aria-pressed="true"
      aria-label=${`Remove the filter ${tag}`}
      onClick=${() => toggleItem('tags', tag)}
    ><span class="name">${tag}</span> ×</button>`,
  );
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
  const { q, state: only, project, tags } = state.view.value;
  const searched = q && ` with “${q}” in its name, project, ID or tags`;
  const tagged = [...tags.map((tag) => ` tagged “${tag}”`), project && ` in the project “${project}”`].join('');
  const showAll = () => setView({ q: '', state: '', project: '', tags: [] });
  return html`<${EmptyState} title="No matching runs">
    <p>There is no ${only ? `${only} run` : 'run'}${tagged}${searched} among ${pluralize(total, 'run')}.</p>
    <p><button onClick=${showAll}>Show all runs</button></p>
  <//>`;
}

/**
 * Search on the server too while not all runs are loaded.
 * @param {App} app
 */
function useServerSearch(app) {
  const { q, state: only, project, tags } = state.view.value;
  const allLoaded = !state.runsCursor.value;
  useEffect(() => {
    if (allLoaded || !isFiltered()) return undefined;
    const timer = setTimeout(() => app.session.searchRuns(), SEARCH_DELAY_MS);
    return () => clearTimeout(timer);
  }, [q, only, project, tags.join('\n'), allLoaded]);
}

/**
 * Load the other list when archived runs are chosen, or no longer chosen.
 * @param {App} app
 */
function useArchive(app) {
  const shown = state.view.value.state === ARCHIVED;
  const loaded = useRef(shown);
  useEffect(() => {
    if (loaded.current === shown) return;
    loaded.current = shown;
    app.session.refresh();
  }, [shown]);
}

/** Return whether the view shows only some of the runs. */
function isFiltered() {
  const { q, state: only, project, tags } = state.view.value;
  return q !== '' || only !== '' || project !== '' || tags.length > 0;
}

/**
 * The runs that the view shows, in order.
 * @param {readonly Run[]} runs
 */
function useShownRuns(runs) {
  const { q, state: only, project, tags } = state.view.value;
  return useMemo(() => filterRuns(runs, { q, state: only, project, tags }), [runs, q, only, project, tags.join('\n')]);
}

/** @param {{app: App}} props */
export function RunsPage({ app }) {
  const { picked, sort } = state.view.value;
  const loaded = state.runs.value;
  const ordered = useRef(/** @type {readonly Run[]} */ ([]));
  const runs = useMemo(() => sortRuns(ordered.current, loaded, sort), [loaded, sort]);
  ordered.current = runs;
  const shown = useShownRuns(runs);
  useServerSearch(app);
  useArchive(app);
  useEffect(() => {
    document.title = 'Runs · ReCIS Monitor';
  }, []);
  if (runs.length === 0 && !isFiltered()) {
    if (state.load.value !== 'ready') return html`<${Loading} rows=${6} />`;
    return html`<h1 class="visually-hidden">Runs</h1><${GettingStarted} />`;
  }
  const more = () => app.session.loadMoreRuns();
  const selected = picked.flatMap((id) => loaded.get(id) ?? []);
  return html`<div class="bar">
      <h1>Runs</h1>
      <span class="muted">${pluralize(shown.length, 'run')}</span>
      <${StateCounts} runs=${runs} />
      <span class="grow" />
      <${AddColumn} app=${app} />
      <${ProjectFilter} runs=${runs} />
      <${StateFilter} runs=${runs} />
      <${TagFilter} />
      <${SearchField} label="Search runs" />
    </div>
    ${shown.length ? html`<${RunsTable} app=${app} runs=${shown} />` : html`<${NoMatch} total=${runs.length} />`}
    ${picked.length > 0 && html`<${SelectionBar} app=${app} runs=${selected} />`}
    ${state.runsCursor.value && html`<p class="more"><button onClick=${more}>Show more runs</button></p>`}`;
}
