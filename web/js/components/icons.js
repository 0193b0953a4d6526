// @ts-check
/** Icons, and the state of a run as an icon with a word. */
import { html } from '../../vendor/ui.js';

/** Outlines of 16 x 16 pixels. */
const SHAPES = {
  running: 'M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3Z',
  stalled: 'M8 2.5 14 13H2Z',
  disconnected: 'M4 4l8 8M12 4l-8 8',
  finished: 'M3 8.5l3.2 3.2L13 4.8',
  failed: 'M5.2 2.5h5.6l2.7 2.7v5.6l-2.7 2.7H5.2l-2.7-2.7V5.2Z',
  search: 'M7 3a4 4 0 1 0 0 8 4 4 0 0 0 0-8Zm3 7 3.5 3.5',
  pause: 'M5.5 3.5v9M10.5 3.5v9',
  play: 'M5 3.2v9.6L12.5 8Z',
  light:
    'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6Z' +
    'M8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15M3 3l1.2 1.2M11.8 11.8 13 13M13 3l-1.2 1.2M4.2 11.8 3 13',
  dark: 'M13 9.8A5.6 5.6 0 0 1 6.2 3 5.6 5.6 0 1 0 13 9.8Z',
  system: 'M2.5 3.5h11v7h-11ZM6 13.5h4',
  keyboard: 'M2 4.5h12v7H2ZM4.5 9.5h7M4.5 7h.01M7 7h.01M9.5 7h.01M11.5 7h.01',
  download: 'M8 2.5v7M5 7l3 3 3-3M3 13h10',
  copy: 'M5.5 5.5h7v8h-7ZM10.5 5.5v-3h-7v8h2',
  back: 'M9.5 3.5 5 8l4.5 4.5',
  pin: 'M6 2.5h4l-.6 4 2.6 2.5H4L6.6 6.5ZM8 9v4.5',
  more: 'M3.5 8h.01M8 8h.01M12.5 8h.01',
  grid: 'M2.5 2.5h4v4h-4ZM9.5 2.5h4v4h-4ZM2.5 9.5h4v4h-4ZM9.5 9.5h4v4h-4Z',
  options: 'M2 5h6M12 5h2M10 3.5v3M2 11h2M8 11h6M6 9.5v3',
};
const SOLID_STATES = new Set(['running', 'stalled', 'failed']);

/** @param {{shape: keyof typeof SHAPES, solid?: boolean}} props */
export function Icon({ shape, solid = false }) {
  return html`<svg class=${solid ? 'icon solid' : 'icon'} viewBox="0 0 16 16" aria-hidden="true">
    <path d=${SHAPES[shape]} />
  </svg>`;
}

/**
 * The state of a run as shape, word and color.
 * @param {{state: string, known?: boolean}} props `known` is false for a state that may have changed meanwhile
 */
export function StateBadge({ state, known = true }) {
  const shape = state in SHAPES ? /** @type {keyof typeof SHAPES} */ (state) : 'disconnected';
  const icon = html`<${Icon} shape=${shape} solid=${SOLID_STATES.has(shape)} />`;
  return html`<span class=${`state ${known ? shape : 'stale'}`}>${icon} ${known ? state : `last ${state}`}</span>`;
}
