// @ts-check
/** The chart wall of a run: toolbar, and one section of charts per prefix. */
import { html, useSignal } from '../../vendor/ui.js';
import { plural } from '../format.js';
import { look, rankLines } from '../picture.js';
import { sectionOf } from '../router.js';
import { orderedKeys, setView, state } from '../state.js';
import { ChartCard } from './card.js';
import { Empty, Icon, Waiting, taking } from './parts.js';

const MOST_SEARCHED = 2000;

/** The ranks to choose from; nothing when there is one. @param {{ranks: number[], page: Page}} props */
export function RankSelect({ ranks, page }) {
  if (ranks.length < 2) return null;
  const { rank } = state.view.value;
  const choose = taking((value) => setView({ rank: value === 'all' ? 'all' : Number(value) }));
  return html`<label class="field">Rank <select value=${String(rank)} onChange=${choose}>
      ${ranks.map((r) => html`<option key=${r} value=${r}>${r}</option>`)}<option value="all">all</option></select></label>
    ${rank === 'all' && html`<span class="legend">${ranks.slice(0, 16).map((r, i) => html`<span key=${r}><${Swatch} page=${page} i=${i} />${r}</span>`)}</span>`}`;
}

/** A piece of the line number `i`. @param {{page: Page, i: number}} props */
export function Swatch({ page, i }) {
  const { color, dash } = look(page.colors(), i);
  return html`<svg class="swatch" viewBox="0 0 20 4" aria-hidden="true"><line x1="0" y1="2" x2="20" y2="2" stroke=${color} stroke-dasharray=${dash.join(' ')} stroke-width="2.5" /></svg>`;
}

/** Zoom, pause, smoothing and axes: they act on all charts of the page. @param {{page: Page, search?: boolean, children?: any}} props */
export function Toolbar({ page, search = true, children }) {
  const view = state.view.value;
  const paused = state.paused.value;
  return html`<div class="toolbar" role="toolbar" aria-label="Charts">
    ${search && html`<label class="field search"><${Icon} shape="search" /><span class="unseen">Search charts</span>
      <input type="search" value=${view.q} placeholder="Search charts" data-search onInput=${taking((q) => setView({ q }))} /><kbd class="wide-only">/</kbd></label>`}
    ${children}
    <span class="segments" role="group" aria-label="Horizontal axis">${/** @type {const} */ (['step', 'time']).map((x) => html`<button key=${x} aria-pressed=${view.x === x} onClick=${() => setView({ x })}>${x === 'step' ? 'Step' : 'Time'}</button>`)}</span>
    <label class="field">Smoothing <input type="range" min="0" max="0.98" step="0.02" value=${view.smooth} onInput=${taking((value) => setView({ smooth: Number(value) }))} /><span class="fixed">${view.smooth ? view.smooth.toFixed(2) : 'off'}</span></label>
    <button aria-pressed=${view.log} onClick=${() => setView({ log: !view.log })} title="Logarithmic axis (l)">Log</button>
    <span class="grow" />
    ${view.from !== null && html`<button class="primary" onClick=${page.resetZoom} title="Show the whole run again and follow it (0)">Back to live</button>`}
    <button aria-pressed=${paused} onClick=${page.togglePause} title="Stop the charts where they are; nothing is lost (Space)"><${Icon} shape=${paused ? 'play' : 'pause'} solid=${paused} /> ${paused ? 'Paused' : 'Pause'}</button>
  </div>`;
}

/** Keys that a search text finds: a pattern where it is one, else a plain text. @param {readonly string[]} keys @param {string} q */
export function search(keys, q) {
  if (!q) return keys;
  try {
    const pattern = new RegExp(q, 'i');
    return keys.filter((key) => pattern.test(key.slice(0, MOST_SEARCHED)));
  } catch {
    return keys.filter((key) => key.toLowerCase().includes(q.toLowerCase()));
  }
}

/** @param {{page: Page, name: string, keys: string[], sources: (key: string) => Source[], lines: (lists: (SeriesList)[]) => Line[]}} props */
export function Section({ page, name, keys, sources, lines }) {
  const open = useSignal(name !== 'monitor' && !name.startsWith('monitor/'));
  const cards = html`<div class="cards">${keys.map((key) => html`<${ChartCard} key=${key} page=${page} label=${key} title=${name ? key.slice(name.length + 1) : key}
    sources=${sources(key)} height=${name ? 150 : 190} lines=${lines} />`)}</div>`;
  if (!name) return html`<h2 class="unseen">Metrics</h2>${cards}`;
  return html`<details class="section" open=${open.value} onToggle=${(/** @type {any} */ event) => (open.value = event.currentTarget.open)}>
    <summary><h2 class="name" title=${name}>${name}</h2><span class="muted">${keys.length}</span></summary>${open.value && cards}</details>`;
}

/** Keys by section, in the order in which sections first appear. @param {readonly string[]} keys @returns {[string, string[]][]} */
export function sections(keys) {
  /** @type {Map<string, string[]>} */
  const map = new Map();
  for (const key of keys) {
    const name = sectionOf(key);
    map.set(name, [...(map.get(name) ?? []), key]);
  }
  return [...map];
}

/** @param {{page: Page, run: Run}} props */
export function ChartsTab({ page, run }) {
  const keys = orderedKeys.value;
  const { q } = state.view.value;
  const found = search(keys, q);
  const bar = html`<${Toolbar} page=${page}><${RankSelect} ranks=${run.ranks} page=${page} /><//>`;
  if (keys.length === 0) {
    return state.load.value === 'ready' ? html`${bar}<${Empty} title="No values yet"><p>This run has not reported a metric. The first charts appear here with its first report.</p><//>` : html`<${Waiting} />`;
  }
  return html`${bar}
    ${found.length === 0 && html`<${Empty} title="No chart matches"><p>None of ${plural(keys.length, 'series', 'series')} has “${q}” in its name.</p><p><button onClick=${() => setView({ q: '' })}>Show all charts</button></p><//>`}
    ${sections(found).map(([name, list]) => html`<${Section} key=${name} page=${page} name=${name} keys=${list}
      sources=${(/** @type {string} */ key) => [{ run: run.id, key }]} lines=${(/** @type {any} */ lists) => rankLines(lists[0], page.colors())} />`)}`;
}
