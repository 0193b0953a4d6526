// @ts-check
/** The dialog that shows the values of a chart as a table, the newest first. */
import { html } from '../../vendor/ui.js';
/** @import { ValueRow } from '../charts/values.js' */
import { valueTable } from '../charts/values.js';
import { formatExact, formatInteger } from '../format/numbers.js';
import { formatDateTime } from '../format/time.js';
import { CardDialog } from './card-dialog.js';

const MAX_ROWS = 200;

/** @param {{title: string, picture: Picture, close: () => void}} props */
export function ValuesDialog({ title, picture, close }) {
  const { columns, rows } = valueTable(picture);
  const left = `The newest ${MAX_ROWS} of ${formatInteger(rows.length)} rows; the CSV file has all of them.`;
  const newest = rows.slice(-MAX_ROWS).reverse();
  const row = (/** @type {ValueRow} */ [step, time, ...values]) => html`<tr key=${step}>
    <td class="number">${formatInteger(step)}</td>
    <td>${formatDateTime(time)}</td>
    ${values.map((value) => html`<td class="number">${value === null ? '–' : formatExact(value)}</td>`)}
  </tr>`;
  return html`<${CardDialog} title=${title} close=${close}>
    <div class="scroll" tabindex="0" role="region" aria-label="Values">
      <table>
        <thead><tr>${columns.map((column) => html`<th key=${column} scope="col">${column}</th>`)}</tr></thead>
        <tbody>${newest.map(row)}</tbody>
      </table>
    </div>
    ${rows.length > MAX_ROWS && html`<p class="muted">${left}</p>`}
    <form method="dialog" class="buttons"><button class="primary">Close</button></form>
  <//>`;
}
