// @ts-check
/** The parts of a whole as one card of stacked areas, with the names of the parts: where the time of a step goes. */
import { html } from '../../vendor/ui.js';
import { lineStyle } from '../charts/picture.js';
import { rankSeries, stackLines } from '../charts/stack.js';
import { ALL_RANKS } from '../data/series.js';
import { partName, STEP_TIME } from '../data/series-names.js';
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

/** @param {{app: App, chart: ChartSpec, sources: SeriesSource[], height: number}} props */
export function StackCard({ app, chart, sources, height }) {
  const parts = chart.keys.slice(0, -1);
  /** @type {LineBuilder} */
  const lines = (lists) => stackLines(lists.slice(0, -1), app.palette.colors, partName);
  const legend = parts.map((key, i) => ({
    name: partName(key),
    style: { ...lineStyle(app.palette.colors, i), dash: [] },
  }));
  return html`<${ChartCard}
    app=${app}
    chart=${chart}
    title=${chart.title}
    label=${chart.label}
    sources=${sources}
    height=${height}
    kind="stack"
    lines=${lines}
    legend=${legend}
    value=${wholeText}
  />`;
}
