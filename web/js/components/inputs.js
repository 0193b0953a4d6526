// @ts-check
/** Input fields that several pages use. */
import { html } from '../../vendor/ui.js';
import { setView, state } from '../data/state.js';
import { Icon } from './icons.js';

/**
 * Return an event handler that passes on the value of its field.
 * @param {(value: string) => void} set
 */
export const onValue = (set) => (/** @type {Event} */ event) =>
  set(/** @type {HTMLInputElement} */ (event.target).value);

/**
 * The search field of a page, which the key `/` focuses.
 * @param {{label: string}} props
 */
export function SearchField({ label }) {
  const search = onValue((q) => setView({ q }));
  return html`<label class="field search">
    <${Icon} shape="search" /><span class="visually-hidden">${label}</span>
    <input type="search" value=${state.view.value.q} placeholder=${label} data-search onInput=${search} />
    <kbd class="wide-only">/</kbd>
  </label>`;
}

/**
 * Options for each rank and for all of them.
 * @param {{ranks: number[]}} props
 */
export function RankOptions({ ranks }) {
  return html`
    ${ranks.map((rank) => html`<option key=${rank} value=${rank}>${rank}</option>`)}
    <option value="all">all</option>
  `;
}
