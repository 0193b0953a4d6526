// @ts-check
/** The menu of a chart card. */
import { html } from '../../vendor/ui.js';

/** @param {{app: App, chart: ChartSpec, close: () => void}} props */
export function CardMenu({ close }) {
  return html`<div class="menu"><button onClick=${close}>Close</button></div>`;
}
