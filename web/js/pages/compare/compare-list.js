// @ts-check
/** The runs of a comparison, beside their charts: which are drawn, and their newest figures. */
import { html } from '../../../vendor/ui.js';
import { StateBadge } from '../../components/icons.js';
import { LineSwatch } from '../../components/line-legend.js';
import { metricLabel, metricOf, ROLES } from '../../data/headline.js';
import { changeOf } from '../../data/run-differences.js';
import { state } from '../../data/state.js';
import { formatCompact, formatPercent } from '../../format/numbers.js';
import { formatMetric } from '../../format/units.js';
import { runHref } from '../../routing/links.js';

const MAX_LABEL_CHARACTERS = 80;

/** @param {number | null} change */
function changeText(change) {
  if (change === null) return '';
  return ` (${change > 0 ? '+' : ''}${change === 0 ? '±0 %' : formatPercent(change)})`;
}

/**
 * The newest values of a run: of the chosen metrics, else of its speed and its loss, and how far they are from those of
 * the reference.
 * @param {{run: Run, reference: Run}} props
 */
function Figures({ run, reference }) {
  const { metrics } = state.view.value;
  const names = Object.keys(run.summary);
  const keys = metrics.length ? metrics : ROLES.flatMap((role) => metricOf(names, role) ?? []);
  const text = (/** @type {string} */ key) => {
    const change = run === reference ? null : changeOf(run.summary[key], reference.summary[key]);
    return `${metricLabel(key)} ${formatMetric(key, run.summary[key])}${changeText(change)}`;
  };
  const line = [
    ...(run === reference ? ['reference'] : []),
    `step ${formatCompact(run.last_step)}`,
    ...keys.map(text),
  ].join(' · ');
  return html`<span class="sub" title=${line}>${line}</span>`;
}

/** @param {{app: App, run: Run, reference: Run, number: number, shown: boolean, toggle: () => void}} props */
function Item({ app, run, reference, number, shown, toggle }) {
  const label = `Show ${(run.name || run.id).slice(0, MAX_LABEL_CHARACTERS)}`;
  return html`<li>
    <input type="checkbox" checked=${shown} onChange=${toggle} aria-label=${label} />
    <div>
      <span class="line">
        <${LineSwatch} app=${app} number=${number} />
        <a class="name" href=${runHref(run.id)} title=${run.name}>${run.name || run.id}</a>
        <${StateBadge} state=${run.state} known=${state.connection.value.up} />
      </span>
      <${Figures} run=${run} reference=${reference} />
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
  const reference = runs.find(({ id }) => !hidden.has(id)) ?? runs[0];
  const item = (/** @type {Run} */ run) => html`<${Item}
    key=${run.id}
    app=${app}
    run=${run}
    reference=${reference}
    number=${numbers.get(run.id) ?? 0}
    shown=${!hidden.has(run.id)}
    toggle=${() => toggle(run.id)}
  />`;
  return html`<aside class="panel flush" aria-label="Compared runs">
    <ol class="run-list" tabindex="0">${runs.map(item)}</ol>
  </aside>`;
}
