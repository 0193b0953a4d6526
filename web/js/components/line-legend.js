// @ts-check
/** The legend: a sample of each line with its name. */
import { html } from '../../vendor/ui.js';
import { lineStyle } from '../charts/picture.js';

/**
 * A sample of the line with a number.
 * @param {{app: App, number: number}} props
 */
export function LineSwatch({ app, number }) {
  return html`<${Swatch} style=${lineStyle(app.palette.colors, number)} />`;
}

/**
 * Which line is which.
 * @param {{entries: readonly LegendEntry[]}} props
 */
export function LineLegend({ entries }) {
  if (entries.length === 0) return null;
  const entry = (/** @type {LegendEntry} */ { name, style }) =>
    html`<li key=${name} class="name" title=${name}><${Swatch} style=${style} /> ${name}</li>`;
  return html`<ul class="line-names" aria-label="Series">${entries.map(entry)}</ul>`;
}

/** @param {{style: LineStyle}} props */
function Swatch({ style: { color, dash } }) {
  return html`<svg class="swatch" viewBox="0 0 20 4" aria-hidden="true">
    <line x1="0" y1="2" x2="20" y2="2" stroke=${color} stroke-dasharray=${dash.join(' ')} stroke-width="2.5" />
  </svg>`;
}
