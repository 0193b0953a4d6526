// @ts-check
/** What the server found in a trace: its duration, and the operators that took the most time. */
import { html } from '../../../vendor/ui.js';
import { Name } from '../../components/text.js';
import { formatCompact, formatInteger, pluralize } from '../../format/numbers.js';
import { formatDuration } from '../../format/units.js';

const MAX_OPERATORS = 10;
const MIN_SCALE_MS = 1e-9;

/** @param {{operator: TraceOperator, scale: number}} props `scale` is the time of a full bar, in milliseconds */
function OperatorRow({ operator: { name, calls, self_ms, total_ms }, scale }) {
  return html`<tr>
    <td class="bar-cell"><i style=${{ width: `${(100 * self_ms) / scale}%` }} /><${Name} text=${name} /></td>
    <td class="number">${formatInteger(calls)}</td>
    <td class="number">${formatDuration(self_ms)}</td>
    <td class="number">${formatDuration(total_ms)}</td>
  </tr>`;
}

/** @param {{operators: TraceOperator[]}} props */
function OperatorTable({ operators }) {
  const scale = Math.max(...operators.map((operator) => operator.self_ms), MIN_SCALE_MS);
  return html`<table>
    <thead>
      <tr>
        <th>Operator</th>
        <th class="number">Calls</th>
        <th class="number">Self</th>
        <th class="number">Total</th>
      </tr>
    </thead>
    <tbody>
      ${operators.map((operator) => html`<${OperatorRow} key=${operator.name} operator=${operator} scale=${scale} />`)}
    </tbody>
  </table>`;
}

/** @param {NonNullable<Trace['summary']>} summary */
function factsText({ steps = 0, wall_ms, events = 0, unreadable }) {
  const count = `${formatCompact(events)} ${events === 1 ? 'event' : 'events'}`;
  const skipped = unreadable ? `, ${formatCompact(unreadable)} unreadable` : '';
  return `${pluralize(steps, 'step')} in ${formatDuration(wall_ms)}, ${count}${skipped}`;
}

/** @param {{trace: Trace}} props */
export function TraceSummary({ trace: { state: fileState, summary, summary_state, summary_error } }) {
  if (fileState !== 'ready') return null;
  if (summary_state === 'pending') return html`<span class="sub">summary pending</span>`;
  if (!summary) return html`<span class="sub" title=${summary_error}>no summary: ${summary_error}</span>`;
  const facts = factsText(summary);
  const operators = (summary.operators ?? []).slice(0, MAX_OPERATORS);
  if (operators.length === 0) return html`<span class="sub">${facts}</span>`;
  return html`<details class="trace-summary">
    <summary>${facts}, top operators</summary>
    <${OperatorTable} operators=${operators} />
  </details>`;
}
