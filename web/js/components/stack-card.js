// @ts-check
/** The parts of a whole as one card of stacked areas, with the names of the parts: where the time of a step goes. */
import { html } from '../../vendor/ui.js';
import { lineStyle } from '../charts/picture.js';
import { rankSeries, stackLines } from '../charts/stack.js';
import { ALL_RANKS } from '../data/series.js';
import { partName, partsOf, STEP_TIME } from '../data/series-names.js';
import { formatMetric } from '../format/units.js';
import { ChartCard } from './chart-card.js';

/**
 * Format the whole, and whose it is where there are several ranks.
 * @param {readonly SeriesList[]} lists
 */
function wholeText(lists) {
  const whole = rankSeries(lists[lists.length - 1]);
  if (!whole) return '–';
  const text = formatMetric(STEP_TIME, whole.last[whole.n - 1]);
  return whole.rank === ALL_RANKS ? `${text} (median)` : text;
}

/** @param {{app: App, run: string, keys: readonly string[], height: number}} props */
export function StackCard({ app, run, keys, height }) {
  const parts = partsOf(keys);
  const sources = [...parts, STEP_TIME].map((key) => ({ run, key }));
  /** @type {LineBuilder} */
  const lines = (lists) => stackLines(lists.slice(0, -1), app.palette.colors, partName);
  const entry = (/** @type {string} */ key, /** @type {number} */ i) =>
    html`<li key=${key}><i style=${{ background: lineStyle(app.palette.colors, i).color }} />${partName(key)}</li>`;
  return html`<div class="stack">
    <${ChartCard}
      app=${app}
      title="Where a step’s time goes"
      label=${STEP_TIME}
      sources=${sources}
      height=${height}
      kind="stack"
      lines=${lines}
      value=${wholeText}
    />
    <ul class="parts" aria-label="Parts of a step">${parts.map(entry)}</ul>
  </div>`;
}
