// @ts-check
/** The recent filter passes of a run, newest first. */
import { html, useSignal } from '../../../vendor/ui.js';
import { Age, Name } from '../../components/text.js';
import { formatValue } from '../../controls/value.js';
import { state } from '../../data/state.js';
import { formatInteger } from '../../format/numbers.js';
import { formatDuration } from '../../format/units.js';

const FEW = 12;
const MANY = 200;

/** @param {{pass: FilterPass, withRank: boolean}} props */
function Row({ pass, withRank }) {
  return html`<tr>
    <td class="number">${formatInteger(pass.step)}</td>
    <td class="main"><${Name} text=${pass.table} /></td>
    ${withRank && html`<td class="number">${pass.rank}</td>`}
    <td class="number">${formatValue(pass.interval)}</td>
    <td class="number">${formatInteger(pass.rows_before)}</td>
    <td class="number down">${formatInteger(pass.evicted)}</td>
    <td class="number">${formatInteger(pass.rows_after)}</td>
    <td class="number up">${formatInteger(pass.admitted)}</td>
    <td class="number">${formatDuration(pass.milliseconds)}</td>
    <td class="number muted"><${Age} time=${pass.time} /></td>
  </tr>`;
}

/** @param {{withRank: boolean}} props */
function Head({ withRank }) {
  return html`<thead>
    <tr>
      <th class="number">Step</th>
      <th>Table</th>
      ${withRank && html`<th class="number">Rank</th>`}
      <th class="number">Interval</th>
      <th class="number">Rows before</th>
      <th class="number">Evicted</th>
      <th class="number">Rows after</th>
      <th class="number">Admitted</th>
      <th class="number">Duration</th>
      <th class="number">Age</th>
    </tr>
  </thead>`;
}

/** @param {{ranks: number[]}} props */
export function FilterPasses({ ranks }) {
  const limit = useSignal(FEW);
  const passes = state.passes.value;
  const withRank = ranks.length > 1;
  if (passes.length === 0) {
    return html`<p class="muted">No filter passes yet. The first one runs after one filter interval.</p>`;
  }
  const showMore = () => {
    limit.value = MANY;
  };
  const row = (/** @type {FilterPass} */ pass) =>
    html`<${Row} key=${`${pass.step} ${pass.table} ${pass.rank}`} pass=${pass} withRank=${withRank} />`;
  return html`<div class="panel flush scroll" role="region" aria-label="Recent filter passes" tabindex="0">
      <table class="grid dense">
        <${Head} withRank=${withRank} />
        <tbody>${passes.slice(-limit.value).reverse().map(row)}</tbody>
      </table>
    </div>
    ${
      passes.length > limit.value &&
      limit.value < MANY &&
      html`<p class="more"><button onClick=${showMore}>Show more passes</button></p>`
    }`;
}
