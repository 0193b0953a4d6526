// @ts-check
/** The runs of a comparison: which are shown, and their newest figures. */
import { html } from '../../../vendor/ui.js';
import { StateBadge } from '../../components/icons.js';
import { LineSwatch } from '../../components/line-legend.js';
import { formatCompact } from '../../format/numbers.js';
import { runHref } from '../../routing/links.js';

const MAX_LABEL_CHARACTERS = 80;

/** @param {{app: App, run: Run, number: number, shown: boolean, toggle: () => void}} props */
function Row({ app, run, number, shown, toggle }) {
  const label = `Show ${run.name.slice(0, MAX_LABEL_CHARACTERS)}`;
  return html`<tr>
    <td class="pick"><input type="checkbox" checked=${shown} onChange=${toggle} aria-label=${label} /></td>
    <td class="main">
      <${LineSwatch} app=${app} number=${number} />${' '}
      <a class="name" href=${runHref(run.id)} title=${run.name}>${run.name || run.id}</a>
    </td>
    <td class="fit wide-only"><${StateBadge} state=${run.state} /></td>
    <td class="number">${formatCompact(run.last_step)}</td>
    <td class="number">${formatCompact(run.summary.qps)}</td>
    <td class="number">${formatCompact(run.summary.loss)}</td>
  </tr>`;
}

/** @param {{app: App, runs: Run[], hidden: Set<string>, toggle: (run: string) => void}} props */
export function CompareTable({ app, runs, hidden, toggle }) {
  const row = (/** @type {Run} */ run, /** @type {number} */ number) => html`<${Row}
    key=${run.id}
    app=${app}
    run=${run}
    number=${number}
    shown=${!hidden.has(run.id)}
    toggle=${() => toggle(run.id)}
  />`;
  return html`<div class="panel flush">
    <table class="grid">
      <thead>
        <tr>
          <th class="pick"><span class="visually-hidden">Shown</span></th>
          <th>Run</th>
          <th class="wide-only">State</th>
          <th class="number">Step</th>
          <th class="number">QPS</th>
          <th class="number">Loss</th>
        </tr>
      </thead>
      <tbody>${runs.map(row)}</tbody>
    </table>
  </div>`;
}
