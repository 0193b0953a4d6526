// @ts-check
/** The dialog that chooses which series a chart shows. */
import { html, useSignal } from '../../vendor/ui.js';
import { searchKeys } from '../data/series-names.js';
import { combine } from '../data/state.js';
import { pluralize } from '../format/numbers.js';
import { MAX_COMBINED } from '../routing/view.js';
import { CardDialog } from './card-dialog.js';
import { onValue } from './inputs.js';

const MAX_SHOWN = 100;

/** @param {{chart: ChartSpec, choices: readonly string[], close: () => void}} props */
export function SeriesDialog({ chart, choices, close }) {
  const text = useSignal('');
  const chosen = useSignal(chart.keys);
  const toggle = (/** @type {string} */ key) => {
    const keys = chosen.value;
    chosen.value = keys.includes(key) ? keys.filter((other) => other !== key) : [...keys, key];
  };
  const apply = (/** @type {Event} */ event) => {
    event.preventDefault();
    combine(chart.id, chosen.value);
    close();
  };
  const found = searchKeys(choices, text.value);
  const first = found.filter((key) => chart.keys.includes(key));
  const shown = [...first, ...found.filter((key) => !first.includes(key))].slice(0, MAX_SHOWN);
  const full = chosen.value.length >= MAX_COMBINED;
  const choice = (/** @type {string} */ key) => {
    const checked = chosen.value.includes(key);
    const set = () => toggle(key);
    return html`<li key=${key}><label class="check">
      <input type="checkbox" checked=${checked} disabled=${full && !checked} onChange=${set} />
      <span class="name" title=${key}>${key}</span>
    </label></li>`;
  };
  const set = onValue((value) => {
    text.value = value;
  });
  const rest = found.length - shown.length;
  return html`<${CardDialog} title="Series of this chart" close=${close}>
    <input type="search" aria-label="Search series" placeholder="Search series" value=${text} onInput=${set} />
    <ul class="choices">${shown.map(choice)}</ul>
    ${rest > 0 && html`<p class="muted">and ${pluralize(rest, 'other')}: search for them</p>`}
    ${full && html`<p class="muted">A chart shows at most ${MAX_COMBINED} series.</p>`}
    <form class="buttons" onSubmit=${apply}>
      <button class="primary" disabled=${chosen.value.length === 0}>
        Show ${pluralize(chosen.value.length, 'series', 'series')}
      </button>
      <button type="button" onClick=${close}>Cancel</button>
    </form>
  <//>`;
}
