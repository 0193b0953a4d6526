// @ts-check
/** The table of runs, with live sparklines. */
import { html, useEffect, useRef } from '../../../vendor/ui.js';
import { drawSparkline } from '../../charts/sparkline.js';
import { StateBadge } from '../../components/icons.js';
import { Age, Name } from '../../components/text.js';
import { VirtualRows } from '../../components/virtual-rows.js';
import { state, toggleSelected } from '../../data/state.js';
import { formatCompact, formatExact } from '../../format/numbers.js';
import { runHref } from '../../routing/links.js';

/** The metrics with a sparkline, in the order of their colors. */
const SPARKLINES = ['qps', 'loss'];
const MAX_LABEL_CHARACTERS = 80;

/** @param {{app: App, run: string, metric: string}} props */
function Sparkline({ app, run, metric }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  useEffect(() => {
    const host = canvas.current;
    if (!host) return undefined;
    const draw = () => {
      const color = app.palette.colors.series[SPARKLINES.indexOf(metric)];
      drawSparkline(host, app.store.get(run, metric).at(-1), color, devicePixelRatio);
    };
    return app.charts.add({ host, sources: [{ run, key: metric }], draw, point: () => {}, resize: draw });
  }, [run, metric]);
  return html`<canvas ref=${canvas} class="sparkline" aria-hidden="true" />`;
}

/** @param {{value: unknown}} props */
function NumberCell({ value }) {
  return html`<td class="number wide-only" title=${formatExact(value)}>${formatCompact(value)}</td>`;
}

/**
 * The other columns in one line, for narrow windows.
 * @param {{run: Run}} props
 */
function NarrowSummary({ run }) {
  return html`<span class="sub narrow-only">
    <${StateBadge} state=${run.state} />${' '}
    · step ${formatCompact(run.last_step)} · loss ${formatCompact(run.summary.loss)} ·${' '}
    <${Age} time=${run.updated_at} />
  </span>`;
}

/** @param {{app: App, run: Run, index: number}} props */
function Row({ app, run, index }) {
  const { id, name, project, summary } = run;
  const selected = state.selectedRuns.value.has(id);
  const select = () => toggleSelected(id);
  const label = `Compare ${name.slice(0, MAX_LABEL_CHARACTERS)}`;
  return html`<tr aria-rowindex=${index + 2}>
    <td class="pick"><input type="checkbox" checked=${selected} onChange=${select} aria-label=${label} /></td>
    <td class="fit wide-only"><${StateBadge} state=${run.state} /></td>
    <td class="main">
      <a class="name" href=${runHref(id)} title=${name}>${name || id}</a>
      <${NarrowSummary} run=${run} />
    </td>
    <td class="wide-only project"><${Name} text=${project} class="muted" /></td>
    <${NumberCell} value=${run.last_step} />
    <${NumberCell} value=${summary.qps} />
    <td class="fit wide-only"><${Sparkline} app=${app} run=${id} metric="qps" /></td>
    <${NumberCell} value=${summary.loss} />
    <td class="fit wide-only"><${Sparkline} app=${app} run=${id} metric="loss" /></td>
    <td class="number wide-only">${run.ranks.length}</td>
    <td class="number wide-only"><${Age} time=${run.updated_at} /></td>
  </tr>`;
}

function Head() {
  return html`<thead>
    <tr>
      <th class="pick"><span class="visually-hidden">Compare</span></th>
      <th class="wide-only">State</th>
      <th>Run</th>
      <th class="wide-only">Project</th>
      <th class="number wide-only">Step</th>
      <th class="number wide-only">QPS</th>
      <td class="wide-only" />
      <th class="number wide-only">Loss</th>
      <td class="wide-only" />
      <th class="number wide-only">Ranks</th>
      <th class="number wide-only">Updated</th>
    </tr>
  </thead>`;
}

/** @param {{app: App, runs: Run[]}} props */
export function RunsTable({ app, runs }) {
  const row = (/** @type {Run} */ run, /** @type {number} */ index) =>
    html`<${Row} key=${run.id} app=${app} run=${run} index=${index} />`;
  return html`<div class="panel flush">
    <table class="grid runs" aria-rowcount=${runs.length + 1}>
      <${Head} />
      <${VirtualRows} items=${runs} row=${row} />
    </table>
  </div>`;
}
