// @ts-check
/** The choice of ranks, with its legend. */
import { html } from '../../vendor/ui.js';
import { MAX_RANK_LINES, shownRank, shownRankWithoutBand } from '../data/ranks.js';
import { setView, state } from '../data/state.js';
import { onValue } from './inputs.js';
import { LineSwatch } from './line-legend.js';

const MAX_LEGEND_RANKS = 16;

/**
 * Options for each rank and for all of them.
 * @param {{ranks: number[], all?: boolean}} props
 */
export function RankOptions({ ranks, all = true }) {
  return html`
    ${ranks.map((rank) => html`<option key=${rank} value=${rank}>${rank}</option>`)}
    ${all && html`<option value="all">all</option>`}
  `;
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
