// @ts-check
/** Small pieces of text: names, times, figures, and lines to copy. */
import { html } from '../../vendor/ui.js';
import { state } from '../data/state.js';
import { epochSeconds, formatAge, formatDateTime } from '../format/time.js';
import { Icon } from './icons.js';

/**
 * How long ago a time was, with date and time as tooltip.
 * @param {{time: unknown}} props
 */
export function Age({ time }) {
  const then = epochSeconds(time);
  if (Number.isNaN(then)) return html`<span>–</span>`;
  return html`<time title=${formatDateTime(then)}>${formatAge(state.now.value - then)}</time>`;
}

/**
 * A name from outside on one line, whole in its tooltip.
 * @param {{text: string, class?: string}} props
 */
export function Name({ text, class: more = '' }) {
  return html`<span class=${`name ${more}`} title=${text}>${text || '(unnamed)'}</span>`;
}

/**
 * A figure with its label.
 * @param {{label: any, value: any, title?: string, tone?: string}} props
 */
export function Figure({ label, value, title = '', tone = '' }) {
  return html`<div class=${`figure ${tone}`} title=${title || undefined}>
    <dt>${label}</dt>
    <dd>${value}</dd>
  </div>`;
}

/**
 * A line to copy into a terminal or a program.
 * @param {{text: string}} props
 */
export function CopyLine({ text }) {
  const copy = (/** @type {Event} */ event) => {
    const button = /** @type {HTMLButtonElement} */ (event.currentTarget);
    const copied = () => {
      button.dataset.done = 'yes';
    };
    // There is no clipboard on plain HTTP: then select the line for the keyboard.
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(copied);
    else getSelection()?.selectAllChildren(/** @type {Node} */ (button.previousElementSibling));
  };
  return html`<div class="copyable">
    <code tabindex="0">${text}</code>
    <button class="quiet" onClick=${copy} title="Copy" aria-label=${`Copy: ${text}`}><${Icon} shape="copy" /></button>
  </div>`;
}
