// @ts-check
/** Several runs over each other: one chart a series, one line a run. */
import { html, useEffect, useSignal } from '../../vendor/ui.js';
import { plural, short } from '../format.js';
import { href } from '../links.js';
import { rankLines } from '../picture.js';
import { orderKeys, setView, state } from '../state.js';
import { Section, Swatch, Toolbar, search, sections } from './charts.js';
import { Empty, StateMark, Waiting } from './parts.js';

/** @param {{page: Page}} props */
export function ComparePage({ page }) {
  const route = state.route.value;
  const hidden = useSignal(/** @type {Set<string>} */ (new Set()));
  useEffect(() => {
    document.title = 'Compare · ReCIS Monitor';
  }, []);
  const wanted = route.page === 'compare' ? route.runs : [];
  const runs = wanted.flatMap((id) => state.runs.value.get(id) ?? []);
  if (wanted.length === 0) return html`<${Empty} whole title="Nothing to compare"><p>Tick two or more runs in <a href=${href({ page: 'runs' })}>the list of runs</a>.</p><//>`;
  if (runs.length === 0) return html`<${Waiting} />`;
  const seen = runs.filter((run) => !hidden.value.has(run.id));
  const keys = search(orderKeys([...new Set(runs.flatMap((run) => Object.keys(run.summary)))]), state.view.value.q);
  const flip = (/** @type {string} */ id) => {
    const next = new Set(hidden.value);
    if (!next.delete(id)) next.add(id);
    hidden.value = next;
    page.wall.redraw();
  };
  const lines = (/** @type {(SeriesList)[]} */ lists) => lists.flatMap((list, i) => (hidden.value.has(runs[i].id) ? [] : rankLines(list, page.colors(), runs[i].name || runs[i].id, i)));
  return html`<div class="bar"><h1>Compare</h1><span class="muted">${plural(seen.length, 'run')} of ${runs.length}</span></div>
    <div class="panel flush"><table class="grid"><thead><tr><th class="pick"><span class="unseen">Shown</span></th><th>Run</th><th class="wide-only">State</th><th class="number">Step</th><th class="number">QPS</th><th class="number">Loss</th></tr></thead>
      <tbody>${runs.map((run, i) => html`<tr key=${run.id}><td class="pick"><input type="checkbox" checked=${!hidden.value.has(run.id)} onChange=${() => flip(run.id)} aria-label=${`Show ${run.name.slice(0, 80)}`} /></td>
        <td class="main"><${Swatch} page=${page} i=${i} /> <a class="name" href=${href({ page: 'run', run: run.id, tab: 'charts' })} title=${run.name}>${run.name || run.id}</a></td><td class="fit wide-only"><${StateMark} name=${run.state} /></td>
        <td class="number">${short(run.last_step)}</td><td class="number">${short(run.summary.qps)}</td><td class="number">${short(run.summary.loss)}</td></tr>`)}</tbody></table></div>
    <${Toolbar} page=${page} />
    ${keys.length === 0 && html`<${Empty} title="No chart matches"><p><button onClick=${() => setView({ q: '' })}>Show all charts</button></p><//>`}
    ${sections(keys).map(([name, list]) => html`<${Section} key=${name} page=${page} name=${name} keys=${list} lines=${lines}
      sources=${(/** @type {string} */ key) => runs.map((run) => ({ run: run.id, key }))} />`)}`;
}
