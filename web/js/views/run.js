// @ts-check
/** One run: its header with the figures that matter, its tabs, and the open tab. */
import { html, useEffect } from '../../vendor/ui.js';
import { age, bytes, full, measure, percent, plural, seconds, short, whole } from '../format.js';
import { href } from '../links.js';
import { state } from '../state.js';
import { ChartsTab } from './charts.js';
import { Ago, Figure, Icon, StateMark, Waiting } from './parts.js';
import { TablesTab } from './tables.js';
import { TracesTab } from './traces.js';

const TABS = /** @type {const} */ ([['charts', 'Charts', ChartsTab], ['tables', 'Hash tables', TablesTab], ['traces', 'Traces', TracesTab]]);

/** Rows or bytes of all tables on all ranks: from the newest passes, else from the newest values of `table/…`; null without any. @param {Run} run @param {'rows' | 'bytes'} name */
function tableSum(run, name) {
  const newest = new Map(state.passes.value.map((pass) => [`${pass.rank} ${pass.table}`, name === 'rows' ? pass.rows_after : pass.bytes]));
  if (newest.size) return [...newest.values()].reduce((sum, value) => sum + value, 0);
  const values = Object.entries(run.summary).filter(([key]) => key.startsWith('table/') && key.endsWith(`/${name}`));
  return values.length ? values.reduce((sum, [, value]) => sum + Number(value), 0) : null;
}

/** @param {{run: Run}} props */
function Freshness({ run }) {
  const old = state.now.value - seconds(run.updated_at);
  if (run.state !== 'running') return html`<span class="muted">last seen <${Ago} at=${run.updated_at} /> ago</span>`;
  return html`<span class=${old > 30 ? 'warn' : 'muted'}>${old > 30 ? 'silent for' : 'live,'} ${age(old)}${old > 30 ? '' : ' old'}</span>`;
}

/** What arrived and what did not. @param {{run: Run}} props */
function Received({ run }) {
  const { points, missing } = run.received;
  return html`<${Figure} label="Received" tone=${missing ? 'bad' : ''} title="Points that arrived; frames of a writer that never came"
    value=${html`${whole(points)} <small>points, ${whole(missing)} missing</small>`} />`;
}

/** Points that will never come. @param {{run: Run}} props */
function Dropped({ run }) {
  const { dropped } = run.received;
  if (!dropped) return null;
  return html`<p class="alert" role="status"><${Icon} shape="stalled" solid /> <strong>${whole(dropped)} dropped</strong>
    <span>The training had no room left for points that were not on the server yet, and gave up the oldest.</span></p>`;
}

/** What the monitor costs the training, by its own measurement. @param {{run: Run}} props */
function Cost({ run }) {
  const own = (/** @type {string} */ name) => run.summary[`monitor/${name}`];
  const share = own('time_share');
  if (share === undefined) return null;
  const cost = (/** @type {string} */ name) => measure(name, own(name));
  const title = `${cost('step_cost_us_p50')} a step, p99 ${cost('step_cost_us_p99')}; ${whole(own('queue_depth'))} values wait to be sent; ${bytes(own('bytes_per_s'))} per second`;
  return html`<${Figure} label="Monitor" title=${title} value=${html`${percent(share)} <small>of step time</small>`} />`;
}

/** The last warnings and errors. */
function Alerts() {
  const loud = state.events.value.filter((event) => event.level !== 'info');
  const last = loud.at(-1);
  if (!last) return null;
  return html`<p class=${`alert ${last.level}`} role="status"><${Icon} shape="stalled" solid /> <strong class="name" title=${last.text}>${last.text}</strong>
    <span class="muted">${last.step !== null && last.step !== undefined ? `step ${whole(last.step)}, ` : ''}<${Ago} at=${last.time} /> ago${loud.length > 1 ? ` · ${plural(loud.length, 'alert')} in all` : ''}</span></p>`;
}

/** Why a run failed, in its own words. @param {{run: Run}} props */
function Failure({ run }) {
  if (run.state !== 'failed' || !run.message) return null;
  return html`<p class="alert error"><${Icon} shape="failed" solid /> <strong class="name" title=${run.message}>${run.message}</strong></p>`;
}

/** @param {{run: Run, tab: string}} props */
function Head({ run, tab }) {
  const rows = tableSum(run, 'rows');
  const held = tableSum(run, 'bytes');
  return html`<div class="head">
    <div class="title"><a class="back" href=${href({ page: 'runs' })} aria-label="All runs"><${Icon} shape="back" /></a>
      <h1 class="name" title=${run.name}>${run.name || run.id}</h1><${StateMark} name=${run.state} /><${Freshness} run=${run} />
      <span class="tags">${[run.project, ...run.tags].slice(0, 6).map((tag) => html`<span key=${tag} class="tag name" title=${tag}>${tag}</span>`)}</span></div>
    <dl class="figures">
      <${Figure} label="Step" value=${whole(run.last_step)} />
      <${Figure} label="QPS" value=${short(run.summary.qps)} title=${`${full(run.summary.qps)} steps per second`} />
      <${Figure} label="Loss" value=${short(run.summary.loss)} title=${full(run.summary.loss)} />
      ${rows !== null && html`<${Figure} label="Table rows" title=${full(rows)} value=${html`${short(rows)}${held !== null && html` <small>${bytes(held)}</small>`}`} />`}
      <${Figure} label="Ranks" value=${html`${run.ranks.length}${run.world_size > run.ranks.length && html` <small>of ${run.world_size}</small>`}`} />
      ${run.attempts > 1 && html`<${Figure} label="Attempts" value=${run.attempts} title="Dashed lines are what an earlier attempt had from where a later one began again" />`}
      <${Received} run=${run} /><${Cost} run=${run} />
    </dl>
    <${Failure} run=${run} /><${Dropped} run=${run} /><${Alerts} />
    <nav class="tabs" aria-label="Run">${TABS.map(([name, label]) => html`<a key=${name} href=${href({ page: 'run', run: run.id, tab: name })} aria-current=${name === tab ? 'page' : undefined}>${label}</a>`)}</nav>
  </div>`;
}

/** @param {{page: Page, route: {run: string, tab: 'charts' | 'tables' | 'traces'}}} props */
export function RunPage({ page, route }) {
  const run = state.run.value;
  const label = run?.name || route.run;
  useEffect(() => {
    document.title = `${label.slice(0, 80)} · ReCIS Monitor`;
  }, [label]);
  if (!run) return html`<${Waiting} rows=${4} />`;
  const Tab = TABS.find(([name]) => name === route.tab)?.[2] ?? ChartsTab;
  return html`<${Head} run=${run} tab=${route.tab} /><${Tab} key=${run.id} page=${page} run=${run} />`;
}
