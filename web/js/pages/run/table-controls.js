// @ts-check
/** The controls of a run, with the filter interval first, and what was changed. */
import { html } from '../../../vendor/ui.js';
import { ChangeHistory } from '../../components/change-history.js';
import { ControlCard } from '../../components/control-card.js';
import { lazyView } from '../../components/lazy-view.js';
import { filterEffect } from '../../controls/filter-effect.js';
import { state } from '../../data/state.js';

const FILTER_INTERVAL = 'filter_interval';
const FilterForecast = lazyView(async () => (await import('../../components/filter-forecast.js')).FilterForecast);

/** @param {{control: Control, app: App}} props */
function FilterInterval({ control, app }) {
  const { value } = /** @type {{value: number | null}} */ (control);
  const lastPass = state.passes.value.at(-1)?.step;
  const lastStep = state.run.value?.last_step ?? 0;
  const effect = (/** @type {any} */ next) => filterEffect(value, next, lastPass, lastStep);
  const preview = (/** @type {any} */ next) =>
    typeof next === 'number' && html`<${FilterForecast} interval=${next} app=${app} />`;
  return html`<div class="controls">
    <${ControlCard} control=${control} app=${app} effect=${effect} preview=${preview} />
  </div>`;
}

/** @param {{app: App, run: Run}} props */
export function TableControls({ app, run }) {
  const controls = state.controls.value
    .filter((control) => control.type !== 'profile')
    .sort((a, b) => a.name.localeCompare(b.name));
  const interval = controls.find((control) => control.name === FILTER_INTERVAL);
  const others = controls.filter((control) => control !== interval);
  const card = (/** @type {Control} */ control) =>
    html`<${ControlCard} key=${control.name} control=${control} app=${app} />`;
  return html`
    ${interval && html`<${FilterInterval} control=${interval} app=${app} />`}
    ${
      others.length > 0 &&
      html`<details class="section" open=${!interval}>
        <summary>
          <h2>${interval ? 'Other controls' : 'Controls'}</h2>
          <span class="muted">${others.length}</span>
        </summary>
        <div class="controls">${others.map(card)}</div>
      </details>`
    }
    <${ChangeHistory} run=${run} app=${app} />
  `;
}
