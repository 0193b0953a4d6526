// @ts-check
/** The runs of a comparison, beside their charts: which are drawn, and their newest figures. */
import { html } from '../../../vendor/ui.js';
import { StateBadge } from '../../components/icons.js';
import { LineSwatch } from '../../components/line-legend.js';
import { metricLabel, metricOf, ROLES } from '../../data/headline.js';
import { state } from '../../data/state.js';
import { formatCompact } from '../../format/numbers.js';
import { formatMetric } from '../../format/units.js';
import { runHref } from '../../routing/links.js';

const MAX_LABEL_CHARACTERS = 80;

/**
 * The newest values of a run: of the chosen metrics, else of its speed and its loss.
 * @param {{run: Run}} props
 */
function Figures({ run }) {
  const { metrics } = state.view.value;
  const names = Object.keys(run.summary);
  const keys = metrics.length ? metrics : ROLES.flatMap((role) => metricOf(names, role) ?? []);
  const text = (/** @type {string} */ key) => `${metricLabel(key)} ${formatMetric(key, run.summary[key])}`;
  const line = [`step ${formatCompact(run.last_step)}`, ...keys.map(text)].join(' · ');
  return html`<span class="sub" title=${line}>${line}</span>`;
}

/** @param {{app: App, run: Run, number: number, shown: boolean, toggle: () => void}} props */
function Item({ app, run, number, shown, toggle }) {
  const label = `Show ${(run.name || run.id).slice(0, MAX_LABEL_CHARACTERS)}`;
  return html`<li>
    <input type="checkbox" checked=${shown} onChange=${toggle} aria-label=${label} />
    <div>
      <span class="line">
        <${LineSwatch} app=${app} number=${number} />
        <a class="name" href=${runHref(run.id)} title=${run.name}>${run.name || run.id}</a>
        <${StateBadge} state=${run.state} known=${state.connection.value.up} />
      </span>
      <${Figures} run=${run} />
    </div>
  </li>`;
}

/**
 * @typedef {object} CompareListProps
 * @property {App} app
 * @property {readonly Run[]} runs
 * @property {ReadonlyMap<string, number>} numbers style numbers by run
 * @property {ReadonlySet<string>} hidden
 * @property {(run: string) => void} toggle
 */

/** @param {CompareListProps} props */
export function CompareList({ app, runs, numbers, hidden, toggle }) {
  const item = (/** @type {Run} */ run) => html`<${Item}
    key=${run.id}
    app=${app}
    run=${run}
    number=${numbers.get(run.id) ?? 0}
    shown=${!hidden.has(run.id)}
    toggle=${() => toggle(run.id)}
  />`;
  return html`<aside class="panel flush" aria-label="Compared runs">
    <ol class="run-list" tabindex="0">${runs.map(item)}</ol>
  </aside>`;
}
