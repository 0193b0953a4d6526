// @ts-check
/** Small pieces that several screens use. */
import { html } from '../../vendor/ui.js';
import { age, moment, seconds } from '../format.js';
import { state } from '../state.js';

/** Drawn outlines of 16 x 16 for buttons and marks. */
const SHAPES = {
  running: 'M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3Z',
  stalled: 'M8 2.5 14 13H2Z',
  disconnected: 'M4 4l8 8M12 4l-8 8',
  finished: 'M3 8.5l3.2 3.2L13 4.8',
  failed: 'M5.2 2.5h5.6l2.7 2.7v5.6l-2.7 2.7H5.2l-2.7-2.7V5.2Z',
  search: 'M7 3a4 4 0 1 0 0 8 4 4 0 0 0 0-8Zm3 7 3.5 3.5',
  pause: 'M5.5 3.5v9M10.5 3.5v9',
  play: 'M5 3.2v9.6L12.5 8Z',
  light: 'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15M3 3l1.2 1.2M11.8 11.8 13 13M13 3l-1.2 1.2M4.2 11.8 3 13',
  dark: 'M13 9.8A5.6 5.6 0 0 1 6.2 3 5.6 5.6 0 1 0 13 9.8Z',
  system: 'M2.5 3.5h11v7h-11ZM6 13.5h4',
  keys: 'M2 4.5h12v7H2ZM4.5 9.5h7M4.5 7h.01M7 7h.01M9.5 7h.01M11.5 7h.01',
  download: 'M8 2.5v7M5 7l3 3 3-3M3 13h10',
  copy: 'M5.5 5.5h7v8h-7ZM10.5 5.5v-3h-7v8h2',
  back: 'M9.5 3.5 5 8l4.5 4.5',
};

/** @param {{shape: keyof typeof SHAPES, solid?: boolean}} props */
export function Icon({ shape, solid = false }) {
  return html`<svg class=${solid ? 'icon solid' : 'icon'} viewBox="0 0 16 16" aria-hidden="true"><path d=${SHAPES[shape]} /></svg>`;
}

const SOLID = new Set(['running', 'stalled', 'failed']);

/** The state of a run as shape, word and colour. @param {{name: string}} props */
export function StateMark({ name }) {
  const known = name in SHAPES ? /** @type {keyof typeof SHAPES} */ (name) : 'disconnected';
  return html`<span class=${`state ${known}`}><${Icon} shape=${known} solid=${SOLID.has(known)} /> ${name}</span>`;
}

/** How long ago, with the moment itself as title. @param {{at: any}} props */
export function Ago({ at }) {
  const then = seconds(at);
  if (Number.isNaN(then)) return html`<span>–</span>`;
  return html`<time title=${moment(then)}>${age(state.now.value - then)}</time>`;
}

/** A handler that hands on what a field holds. @param {(value: string) => void} take */
export const taking = (take) => (/** @type {Event} */ event) => take(/** @type {HTMLInputElement} */ (event.target).value);

/** A name from outside: as text, on one line, whole in its title. @param {{text: string, class?: string}} props */
export function Name({ text, class: more = '' }) {
  return html`<span class=${`name ${more}`} title=${text}>${text || '(no name)'}</span>`;
}

/** One figure with its label. @param {{label: string, value: any, title?: string, tone?: string}} props */
export function Figure({ label, value, title = '', tone = '' }) {
  return html`<div class=${`figure ${tone}`} title=${title || undefined}><dt>${label}</dt><dd>${value}</dd></div>`;
}

/** A line to copy into a terminal or a program. @param {{text: string}} props */
export function Copyable({ text }) {
  const copy = (/** @type {Event} */ event) => {
    const button = /** @type {HTMLButtonElement} */ (event.currentTarget);
    // Without a secure origin there is no clipboard: then the line is selected, ready for the keyboard.
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => (button.dataset.done = 'yes'));
    else getSelection()?.selectAllChildren(/** @type {Node} */ (button.previousElementSibling));
  };
  return html`<div class="copyable"><code tabindex="0">${text}</code><button class="quiet" onClick=${copy} title="Copy" aria-label=${`Copy: ${text}`}><${Icon} shape="copy" /></button></div>`;
}

/** A place without content, saying what to do; `whole` when that is all there is on the page. @param {{title: string, whole?: boolean, children?: any}} props */
export function Empty({ title, whole = false, children }) {
  return html`<div class="empty">${whole ? html`<h1>${title}</h1>` : html`<h2>${title}</h2>`}${children}</div>`;
}

/** A grey bar for each line that is still on its way. @param {{rows?: number}} props */
export function Waiting({ rows = 3 }) {
  return html`<div class="waiting" role="status" aria-label="Loading">${Array.from({ length: rows }, (_, i) => html`<span key=${i} />`)}</div>`;
}
