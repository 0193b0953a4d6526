// @ts-check
/** The charts of a run. */
import { html } from '../../../vendor/ui.js';
import { summaryLines } from '../../charts/picture.js';
import { ChartSections } from '../../components/chart-sections.js';
import { ChartToolbar } from '../../components/chart-toolbar.js';
import { lazyView } from '../../components/lazy-view.js';
import { Loading } from '../../components/placeholders.js';
import { orderedKeys, state } from '../../data/state.js';

const RankSelect = lazyView(
  async () => (await import('../../components/rank-select.js')).RankSelect,
  () => null,
);

/** @param {{app: App, run: Run}} props */
export function ChartsTab({ app, run }) {
  const keys = orderedKeys.value;
  const sources = (/** @type {string} */ key) => [{ run: run.id, key }];
  /** @type {LineBuilder} */
  const lines = ([list]) => summaryLines(list, app.palette.colors, run.ranks.length);
  if (keys.length === 0 && state.load.value !== 'ready') return html`<${Loading} />`;
  const choice = run.ranks.length > 1 && html`<${RankSelect} ranks=${run.ranks} app=${app} band />`;
  return html`<${ChartToolbar} app=${app} run=${run}>${choice}<//>
    <${ChartSections}
      app=${app}
      keys=${keys}
      sources=${sources}
      lines=${lines}
      owned=${run.ranks.length > 1}
      project=${run.project}
      grouped
    />`;
}
