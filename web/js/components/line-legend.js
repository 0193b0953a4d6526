// @ts-check
/** Which line is which: samples of lines, and the choice of ranks with its legend. */
import { html } from '../../vendor/ui.js';
import { lineStyle } from '../charts/picture.js';
import { MAX_RANK_LINES, shownRank, shownRankWithoutBand } from '../data/ranks.js';
import { setView, state } from '../data/state.js';
import { onValue, RankOptions } from './inputs.js';

const MAX_LEGEND_RANKS = 16;

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

/**
 * The choice of ranks; nothing when there is only one.
 * @param {{ranks: number[], app: App, band?: boolean}} props `band` offers all ranks as a band
 */
export function RankSelect({ ranks, app, band = false }) {
  if (ranks.length < 2) return null;
  const choice = state.view.value.rank;
  const rank = band ? shownRank(choice, ranks) : shownRankWithoutBand(choice, ranks);
  const choose = onValue((value) => {
    setView({ rank: value === 'all' || value === 'band' ? value : Number(value) });
  });
  return html`<label class="field">
      Rank
      <select value=${String(rank)} onChange=${choose}>
        ${band && html`<option value="band">median and band</option>`}
        <${RankOptions} ranks=${ranks} all=${ranks.length <= MAX_RANK_LINES} />
      </select>
    </label>
    ${rank === 'all' && html`<${RankLegend} ranks=${ranks} app=${app} />`}`;
}

/** @param {{ranks: number[], app: App}} props */
function RankLegend({ ranks, app }) {
  const entry = (/** @type {number} */ rank, /** @type {number} */ i) =>
    html`<span key=${rank}><${LineSwatch} app=${app} number=${i} />${rank}</span>`;
  return html`<span class="legend">${ranks.slice(0, MAX_LEGEND_RANKS).map(entry)}</span>`;
}
