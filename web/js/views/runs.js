// @ts-check
/** All runs: a table that fills itself. */
import { html, useEffect, useMemo, useRef } from '../../vendor/ui.js';
import { sparkline } from '../draw.js';
import { full, plural, short, whole } from '../format.js';
import { href, root } from '../links.js';
import { setView, state } from '../state.js';
import { Rows } from './rows.js';
import { Ago, Copyable, Empty, Icon, Name, StateMark, Waiting, taking } from './parts.js';

const STATES = ['running', 'stalled', 'disconnected', 'finished', 'failed'];
const SPARK_KEYS = ['qps', 'loss'];

/** @param {Run} run @param {readonly string[]} words */
function matches(run, words) {
  if (words.length === 0) return true;
  const text = [run.name, run.project, run.id, ...run.tags].join('\n').toLowerCase();
  return words.every((word) => text.includes(word));
}

/** Newest first, those that run before those that ended. @param {Run} a @param {Run} b */
const order = (a, b) => Number(b.state === 'running') - Number(a.state === 'running') || Number(a.created_at < b.created_at) - Number(a.created_at > b.created_at);

/** @param {{page: Page, run: string, name: string}} props */
function Spark({ page, run, name }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  useEffect(() => {
    const host = canvas.current;
    if (!host) return undefined;
    const draw = () => {
      const colors = page.colors();
      sparkline(host, page.store.get(run, name).at(-1), colors.series[SPARK_KEYS.indexOf(name)], devicePixelRatio);
    };
    return page.wall.add({ host, sources: [{ run, key: name }], draw, point: () => {}, resize: draw });
  }, [run, name]);
  return html`<canvas ref=${canvas} class="spark" aria-hidden="true" />`;
}

/** @param {{page: Page, run: Run, place: number}} props */
function Row({ page, run, place }) {
  const picked = page.picked.value.has(run.id);
  const loss = run.summary.loss;
  const qps = run.summary.qps;
  return html`<tr aria-rowindex=${place + 2}>
    <td class="pick"><input type="checkbox" checked=${picked} onChange=${() => page.pick(run.id)} aria-label=${`Compare ${run.name.slice(0, 80)}`} /></td>
    <td class="fit wide-only"><${StateMark} name=${run.state} /></td>
    <td class="main"><a class="name" href=${href({ page: 'run', run: run.id, tab: 'charts' })} title=${run.name}>${run.name || run.id}</a>
      <span class="sub narrow-only"><${StateMark} name=${run.state} /> · step ${short(run.last_step)} · loss ${short(loss)} · <${Ago} at=${run.updated_at} /></span></td>
    <td class="wide-only project"><${Name} text=${run.project} class="muted" /></td>
    <td class="number wide-only" title=${full(run.last_step)}>${short(run.last_step)}</td>
    <td class="number wide-only" title=${full(qps)}>${short(qps)}</td>
    <td class="fit wide-only"><${Spark} page=${page} run=${run.id} name="qps" /></td>
    <td class="number wide-only" title=${full(loss)}>${short(loss)}</td>
    <td class="fit wide-only"><${Spark} page=${page} run=${run.id} name="loss" /></td>
    <td class="number wide-only">${run.ranks.length}</td>
    <td class="number wide-only"><${Ago} at=${run.updated_at} /></td>
  </tr>`;
}

/** The first visit: how a run gets here. */
function Teaching() {
  const address = root.href.replace(/\/$/, '');
  return html`<${Empty} title="No run yet">
    <p>A run shows up here by itself as soon as a training connects. To see one at once, start the demo: a real recommender on real ratings.</p>
    <${Copyable} text=${`recis-monitor demo`} />
    <p>To watch your own training, tell it where this server is. The Trainer does the rest.</p>
    <${Copyable} text=${`export RECIS_MONITOR_URL=${address}`} />
    <p>Without the Trainer, in any Python loop:</p>
    <${Copyable} text=${`run = recis.monitor.init(url="${address}", project="default"); run.log({"loss": loss}, step=step)`} /><//>`;
}

/** @param {{runs: Run[]}} props */
function StateFilter({ runs }) {
  const chosen = state.view.value.state;
  const counts = new Map(STATES.map((name) => [name, 0]));
  for (const run of runs) counts.set(run.state, (counts.get(run.state) ?? 0) + 1);
  return html`<label class="field"><span class="unseen">State</span>
    <select value=${chosen} onChange=${taking((state) => setView({ state }))}>
      <option value="">All states (${runs.length})</option>
      ${STATES.map((name) => html`<option key=${name} value=${name}>${name} (${counts.get(name)})</option>`)}
    </select></label>`;
}

/** @param {{page: Page}} props */
export function RunsPage({ page }) {
  const { q, state: only } = state.view.value;
  useEffect(() => {
    document.title = 'Runs · ReCIS Monitor';
  }, []);
  const more = state.runsNext.value;
  useEffect(() => {
    // Only what is not here yet has to be asked for.
    if (!more || (!q && !only)) return undefined;
    const timer = setTimeout(() => page.session.findRuns(), 250);
    return () => clearTimeout(timer);
  }, [q, only, !more]);
  const known = state.runs.value;
  const all = useMemo(() => [...known.values()].sort(order), [known]);
  const shown = useMemo(() => {
    const words = q.toLowerCase().split(/\s+/).filter(Boolean);
    return all.filter((run) => (!only || run.state === only) && matches(run, words));
  }, [all, q, only]);
  if (all.length === 0 && !q && !only) return state.load.value === 'ready' ? html`<h1 class="unseen">Runs</h1><${Teaching} />` : html`<${Waiting} rows=${6} />`;
  const picked = [...page.picked.value];
  return html`<div class="bar"><h1>Runs</h1><span class="muted">${plural(shown.length, 'run')}</span><span class="grow" />
      ${picked.length > 1 && html`<a class="button primary" href=${href({ page: 'compare', runs: picked })}>Compare ${picked.length}</a>`}
      <${StateFilter} runs=${all} />
      <label class="field search"><${Icon} shape="search" /><span class="unseen">Search runs</span>
        <input type="search" value=${q} placeholder="Search runs" data-search onInput=${taking((q) => setView({ q }))} /><kbd class="wide-only">/</kbd></label></div>
    ${shown.length === 0
      ? html`<${Empty} title="No run matches"><p>Nothing among ${whole(all.length)} runs has “${q || only}” in its name, project, id or tags.</p><p><button onClick=${() => setView({ q: '', state: '' })}>Show all runs</button></p><//>`
      : html`<div class="panel flush"><table class="grid runs" aria-rowcount=${shown.length + 1}><thead><tr>
          <th class="pick"><span class="unseen">Compare</span></th><th class="wide-only">State</th><th>Run</th><th class="wide-only">Project</th><th class="number wide-only">Step</th>
          <th class="number wide-only">QPS</th><td class="wide-only" /><th class="number wide-only">Loss</th><td class="wide-only" /><th class="number wide-only">Ranks</th><th class="number wide-only">Age</th></tr></thead>
        <${Rows} items=${shown} row=${(/** @type {Run} */ run, /** @type {number} */ place) => html`<${Row} key=${run.id} page=${page} run=${run} place=${place} />`} /></table></div>`}
    ${more && html`<p class="more"><button onClick=${() => page.session.loadRuns(more)}>Show more runs</button></p>`}`;
}
