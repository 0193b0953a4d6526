// @ts-check
/** Hash tables: the controls, one row a table, charts of rows and of what came and went, and the last passes. */
import { html, useSignal } from '../../vendor/ui.js';
import { bytes, duration, full, setting, short, whole } from '../format.js';
import { barLines, rankLines } from '../picture.js';
import { current } from '../series.js';
import { state, tables } from '../state.js';
import { ChartCard } from './card.js';
import { RankSelect, Toolbar } from './charts.js';
import { ControlCard } from './control.js';
import { Ago, Empty, Name, Waiting } from './parts.js';

const FEW = 12;
const MORE = 200;

/** The newest pass of each rank over one table. @param {readonly Pass[]} passes @param {string} table */
function newest(passes, table) {
  /** @type {Map<number, Pass>} */
  const ranks = new Map();
  for (const pass of passes) if (pass.table === table) ranks.set(pass.rank, pass);
  return [...ranks.values()];
}

/** When the next pass would come, against when it comes now. @param {number | null} now @param {any} value */
function effectOf(now, value) {
  const last = state.passes.value.at(-1)?.step;
  const step = state.run.value?.last_step ?? 0;
  if (value === now) return 'That is its value already.';
  if (value === null) return 'No more passes: nothing is evicted, and the tables only grow.';
  if (last === undefined) return `A pass every ${whole(value)} steps.`;
  const next = Math.max(last + value, step + 1);
  return `Next pass at step ${whole(next)}${now === null ? '' : ` instead of ${whole(last + now)}`}, then every ${whole(value)} steps.`;
}

/** @param {{page: Page}} props */
function Controls({ page }) {
  const all = state.controls.value.filter((c) => c.type !== 'profile').sort((a, b) => a.name.localeCompare(b.name));
  const own = all.filter((c) => c.name === 'filter_interval');
  const others = all.filter((c) => c.name !== 'filter_interval');
  if (all.length === 0) return null;
  return html`${own.map((control) => html`<div key=${control.name} class="controls"><${ControlCard} control=${control} page=${page}
      effect=${(/** @type {any} */ value) => effectOf(control.value, value)} /></div>`)}
    ${others.length > 0 && html`<details class="section" open=${own.length === 0}><summary><h2>${own.length ? 'Other controls' : 'Controls'}</h2><span class="muted">${others.length}</span></summary>
      <div class="controls">${others.map((control) => html`<${ControlCard} key=${control.name} control=${control} page=${page} />`)}</div></details>`}`;
}

/** @param {{names: string[]}} props */
function Overview({ names }) {
  const passes = state.passes.value;
  const summary = state.run.value?.summary ?? {};
  return html`<div class="panel flush scroll" role="region" aria-label="Tables" tabindex="0"><table class="grid"><thead><tr><th>Table</th><th class="number">Rows</th><th class="number">Admitted</th><th class="number">Evicted</th>
    <th class="number">Bytes</th><th class="number">Last pass</th><th class="number">Took</th><th class="number">Interval</th></tr></thead><tbody>
    ${names.map((name) => {
      const last = newest(passes, name);
      const sum = (/** @type {'rows_after' | 'admitted' | 'evicted' | 'bytes'} */ field) => (last.length ? last.reduce((all, pass) => all + pass[field], 0) : null);
      const one = last.at(-1);
      const rows = sum('rows_after') ?? summary[`table/${name}/rows`];
      return html`<tr key=${name}><td class="main"><a class="name" href=${`#table-${names.indexOf(name)}`} title=${name}>${name}</a></td>
        <td class="number" title=${full(rows)}>${short(rows)}</td><td class="number up" title=${full(sum('admitted'))}>${one ? `+${short(sum('admitted'))}` : '–'}</td>
        <td class="number down" title=${full(sum('evicted'))}>${one ? `−${short(sum('evicted'))}` : '–'}</td><td class="number">${bytes(sum('bytes') ?? summary[`table/${name}/bytes`])}</td>
        <td class="number">${one ? whole(one.step) : '–'}</td><td class="number">${one ? duration(Math.max(...last.map((p) => p.milliseconds))) : '–'}</td><td class="number">${one ? setting(one.interval) : '–'}</td></tr>`;
    })}</tbody></table></div>`;
}

/** @param {{page: Page, run: string, name: string, at: number}} props */
function TableCharts({ page, run, name, at }) {
  const key = (/** @type {string} */ field) => ({ run, key: `table/${name}/${field}` });
  const colors = page.colors;
  return html`<div class="pair" id=${`table-${at}`}><h2 class="name" title=${name}>${name}</h2><div class="cards two">
    <${ChartCard} page=${page} title="Rows" label=${`table/${name}/rows`} sources=${[key('rows')]} height=${170} lines=${(/** @type {any} */ lists) => rankLines(lists[0], colors())} />
    <${ChartCard} page=${page} title="Admitted, evicted" label=${`table/${name}/admitted and evicted`} kind="bars" sources=${[key('admitted'), key('evicted')]} height=${170} marks=${false}
      lines=${(/** @type {any} */ lists) => barLines(lists[0], lists[1], colors())} value=${(/** @type {any} */ lists) => flow(lists)} /></div></div>`;
}

/** Newest admitted and evicted, as signed numbers. @param {(SeriesList)[]} lists */
function flow(lists) {
  const last = lists.map((list) => current(list).reduce((sum, s) => sum + (s.n ? s.last[s.n - 1] : 0), 0));
  return lists.some((list) => list.length) ? `+${short(last[0])}  −${short(last[1])}` : '–';
}

/** @param {{ranks: number[]}} props */
function Passes({ ranks }) {
  const most = useSignal(FEW);
  const all = state.passes.value;
  const shown = all.slice(-most.value).reverse();
  const many = ranks.length > 1;
  if (all.length === 0) return html`<p class="muted">No filter pass yet. The first comes when the interval is over.</p>`;
  return html`<div class="panel flush scroll" role="region" aria-label="Last passes" tabindex="0"><table class="grid dense"><thead><tr><th class="number">Step</th><th>Table</th>${many && html`<th class="number">Rank</th>`}
      <th class="number">Interval</th><th class="number">Rows before</th><th class="number">Evicted</th><th class="number">Rows after</th><th class="number">Admitted</th><th class="number">Took</th><th class="number">Age</th></tr></thead><tbody>
      ${shown.map((p) => html`<tr key=${`${p.step} ${p.table} ${p.rank}`}><td class="number">${whole(p.step)}</td><td class="main"><${Name} text=${p.table} /></td>${many && html`<td class="number">${p.rank}</td>`}
        <td class="number">${setting(p.interval)}</td><td class="number">${whole(p.rows_before)}</td><td class="number down">${whole(p.evicted)}</td><td class="number">${whole(p.rows_after)}</td>
        <td class="number up">${whole(p.admitted)}</td><td class="number">${duration(p.milliseconds)}</td><td class="number muted"><${Ago} at=${p.time} /></td></tr>`)}</tbody></table></div>
    ${all.length > shown.length && most.value < MORE && html`<p class="more"><button onClick=${() => (most.value = MORE)}>Show more passes</button></p>`}`;
}

/** @param {{page: Page, run: Run}} props */
export function TablesTab({ page, run }) {
  const names = tables.value;
  if (state.load.value === 'loading') return html`<${Waiting} />`;
  return html`<${Controls} page=${page} />
    ${names.length === 0
      ? html`<${Empty} title="No hash table yet"><p>Tables show up with the first pass of a <code>HashTableFilterHook</code>. Add one to the trainer's hooks:</p>
          <p><code>trainer.add_hook(HashTableFilterHook(filter_interval=100))</code></p><//>`
      : html`<${Overview} names=${names} /><${Toolbar} page=${page} search=${false}><${RankSelect} ranks=${run.ranks} page=${page} /><//>
        ${names.map((name, at) => html`<${TableCharts} key=${name} page=${page} run=${run.id} name=${name} at=${at} />`)}
        <h2>Last passes</h2><${Passes} ranks=${run.ranks} />`}`;
}
