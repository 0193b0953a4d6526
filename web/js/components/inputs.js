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
 * Return whether a key press belongs to a field or a dialog.
 * @param {KeyboardEvent} event
 */
export function isTyping(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  return target.matches('input:not([type="checkbox"]), select, textarea, dialog *') || target.isContentEditable;
}

/**
 * The search field of a page, which the key `/` focuses.
 * @param {{label: string}} props
 */
export function SearchField({ label }) {
  const search = onValue((q) => setView({ q }));
  // The browser would clear the field without an event, and the next render would restore the text.
  const keydown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'Escape' || state.view.value.q === '') return;
    event.preventDefault();
    setView({ q: '' });
  };
  return html`<label class="field search">
    <${Icon} shape="search" /><span class="visually-hidden">${label}</span>
    <input
      type="search"
      data-search
      value=${state.view.value.q}
      placeholder=${label}
      onInput=${search}
      onKeyDown=${keydown}
    />
    <kbd class="wide-only">/</kbd>
  </label>`;
}
