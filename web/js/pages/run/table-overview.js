// @ts-check
/** One row per hash table with the figures of its newest filter pass. */
import { html } from '../../../vendor/ui.js';
import { formatValue } from '../../controls/value.js';
import { newestPasses, sumPasses } from '../../data/filter-passes.js';
import { state } from '../../data/state.js';
import { formatCompact, formatExact, formatInteger } from '../../format/numbers.js';
import { formatBytes, formatDuration } from '../../format/units.js';

/**
 * Return the id of the element with the charts of a table.
 * @param {number} number of the table
 */
export const tableAnchor = (number) => `table-${number}`;

/**
 * The rows that the newest passes of all ranks admitted or evicted.
 * @param {{passes: FilterPass[], field: 'admitted' | 'evicted'}} props
 */
function FlowCell({ passes, field }) {
  const rows = sumPasses(passes, field);
  const [sign, tone] = field === 'admitted' ? ['+', 'up'] : ['−', 'down'];
  const text = rows === null ? '–' : `${sign}${formatCompact(rows)}`;
  return html`<td class=${`number ${tone}`} title=${formatExact(rows)}>${text}</td>`;
}

/** @param {{name: string, number: number}} props */
function Row({ name, number }) {
  const passes = newestPasses(state.passes.value, name);
  const summary = state.run.value?.summary ?? {};
  const last = passes.at(-1);
  const rows = sumPasses(passes, 'rows_after') ?? summary[`table/${name}/rows`];
  const bytes = sumPasses(passes, 'bytes') ?? summary[`table/${name}/bytes`];
  const slowest = Math.max(...passes.map((pass) => pass.milliseconds));
  return html`<tr>
    <td class="main"><a class="name" href=${`#${tableAnchor(number)}`} title=${name}>${name}</a></td>
    <td class="number" title=${formatExact(rows)}>${formatCompact(rows)}</td>
    <${FlowCell} passes=${passes} field="admitted" />
    <${FlowCell} passes=${passes} field="evicted" />
    <td class="number">${formatBytes(bytes)}</td>
    <td class="number">${last ? formatInteger(last.step) : '–'}</td>
    <td class="number">${last ? formatDuration(slowest) : '–'}</td>
    <td class="number">${last ? formatValue(last.interval) : '–'}</td>
  </tr>`;
}

/** @param {{names: string[]}} props */
export function TableOverview({ names }) {
  return html`<div class="panel flush scroll" role="region" aria-label="Hash tables" tabindex="0">
    <table class="grid">
      <thead>
        <tr>
          <th>Table</th>
          <th class="number">Rows</th>
          <th class="number">Admitted</th>
          <th class="number">Evicted</th>
          <th class="number">Bytes</th>
          <th class="number">Last pass</th>
          <th class="number">Duration</th>
          <th class="number">Interval</th>
        </tr>
      </thead>
      <tbody>${names.map((name, number) => html`<${Row} key=${name} name=${name} number=${number} />`)}</tbody>
    </table>
  </div>`;
}
