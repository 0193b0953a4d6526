// @ts-check
/** The table of runs, with live sparklines. */
import { html, useEffect, useMemo, useRef } from '../../../vendor/ui.js';
import { SPARKLINE_HEIGHT, SPARKLINE_WIDTH, sparklinePaths } from '../../charts/sparkline.js';
import { StateBadge } from '../../components/icons.js';
import { Age, Name } from '../../components/text.js';
import { VirtualRows } from '../../components/virtual-rows.js';
import { metricLabel, metricOf, ROLE_LABELS, ROLES } from '../../data/headline.js';
import { columnMetric, METRIC } from '../../data/run-order.js';
import { pickRange, togglePick } from '../../data/run-selection.js';
import { setView, state, toggleItem } from '../../data/state.js';
import { formatCompact, formatExact } from '../../format/numbers.js';
import { formatMetric } from '../../format/units.js';
import { runHref } from '../../routing/links.js';

/** With more columns than these, the list may be wider than the window and scroll sideways. */
const FITTING_METRICS = 2;
const MAX_LABEL_CHARACTERS = 80;
const MAX_TAGS = 2;
const VIEW_BOX = `0 0 ${SPARKLINE_WIDTH} ${SPARKLINE_HEIGHT}`;

/**
 * A column with a metric: a chosen one, the same for all runs, or each run's own for a role.
 * @typedef {{key: string, label: string, number: number, metric: (run: Run) => string | undefined}} Column
 */

/**
 * @param {readonly string[]} chosen
 * @returns {Column[]}
 */
function metricColumns(chosen) {
  if (chosen.length) return chosen.map((key, number) => ({ key, number, label: metricLabel(key), metric: () => key }));
  return ROLES.map((role, number) => ({
    key: role,
    number,
    label: ROLE_LABELS[role],
    metric: (run) => columnMetric(role, run),
  }));
}

/** @param {{app: App, run: string, metric: string, number: number}} props */
function Sparkline({ app, run, metric, number }) {
  const band = useRef(/** @type {SVGPathElement | null} */ (null));
  const line = useRef(/** @type {SVGPathElement | null} */ (null));
  useEffect(() => {
    const host = /** @type {any} */ (line.current)?.ownerSVGElement;
    const draw = () => {
      const paths = sparklinePaths(app.store.get(run, metric).at(-1));
      // Most are asked to draw because another run has grown.
      if (line.current?.getAttribute('d') === paths.line) return;
      band.current?.setAttribute('d', paths.band);
      line.current?.setAttribute('d', paths.line);
    };
    return app.charts.add({
      host,
      sources: [{ run, key: metric }],
      draw,
      point: () => {},
      resize: () => {},
      release: () => {},
    });
  }, [run, metric, number]);
  const color = `var(--series-${(number % app.palette.colors.series.length) + 1})`;
  return html`<svg class="sparkline" style=${{ color }} viewBox=${VIEW_BOX} aria-hidden="true">
    <path ref=${band} class="band" /><path ref=${line} />
  </svg>`;
}

/** @param {{app: App, run: Run, column: Column}} props */
function MetricCells({ app, run, column }) {
  const metric = column.metric(run);
  if (metric === undefined) return html`<td class="number wide-only">–</td><td class="fit spark wide-only" />`;
  const value = run.summary[metric];
  const exact = `${metric}: ${formatExact(value)}`;
  return html`<td class="number wide-only" title=${exact}>${formatMetric(metric, value)}</td>
    <td class="fit spark wide-only">
      <${Sparkline} app=${app} run=${run.id} metric=${metric} number=${column.number} />
    </td>`;
}

/**
 * The other columns in one line, for narrow windows.
 * @param {{run: Run}} props
 */
function NarrowSummary({ run }) {
  const loss = metricOf(Object.keys(run.summary), 'loss');
  return html`<span class="sub narrow-only">
    <${StateBadge} state=${run.state} />${' '}
    · step ${formatCompact(run.last_step)} ${loss && ` · loss ${formatMetric(loss, run.summary[loss])}`} ·${' '}
    <${Age} time=${run.updated_at} />
  </span>`;
}

/**
 * The first tags of a run; a click shows the runs with the tag.
 * @param {{tags: readonly string[]}} props
 */
function Tags({ tags }) {
  const tag = (/** @type {string} */ name) => html`<button
    key=${name}
    class="tag"
    title=${`Show runs tagged ${name}`}
    onClick=${() => toggleItem('tags', name)}
  ><span class="name">${name}</span></button>`;
  const more = tags.length - MAX_TAGS;
  return html`<span class="row-tags wide-only">
    ${tags.slice(0, MAX_TAGS).map(tag)}
    ${more > 0 && html`<small title=${tags.slice(MAX_TAGS).join(', ')}>+${more}</small>`}
  </span>`;
}

/**
 * @typedef {object} RowProps
 * @property {App} app
 * @property {Run} run
 * @property {number} index
 * @property {Column[]} columns
 * @property {boolean} picked
 * @property {(id: string, range: boolean) => void} select
 */

/** @param {RowProps} props */
function Row({ app, run, index, columns, picked, select }) {
  const { id, name, project, tags, last_step: step } = run;
  const pick = (/** @type {MouseEvent} */ event) => select(id, event.shiftKey);
  const label = `Compare ${(name || id).slice(0, MAX_LABEL_CHARACTERS)}`;
  return html`<tr aria-rowindex=${index + 2} class=${picked ? 'picked' : ''} data-run=${id}>
    <td class="pick"><input type="checkbox" checked=${picked} onClick=${pick} aria-label=${label} /></td>
    <td class="fit wide-only"><${StateBadge} state=${run.state} /></td>
    <td class=${tags.length > 0 ? 'main tagged' : 'main'}>
      <a class="name" href=${runHref(id)} title=${name}>${name || id}</a>
      ${tags.length > 0 && html`<${Tags} tags=${tags} />`}
      <${NarrowSummary} run=${run} />
    </td>
    <td class="wide-only project"><${Name} text=${project} class="muted" /></td>
    <td class="number wide-only" title=${formatExact(step)}>${formatCompact(step)}</td>
    ${columns.map((column) => html`<${MetricCells} key=${column.key} app=${app} run=${run} column=${column} />`)}
    <td class="number wide-only">${run.ranks.length}</td>
    <td class="number wide-only"><${Age} time=${run.updated_at} /></td>
  </tr>`;
}

/**
 * The label of a column, which orders the list: first in one direction, then in the other, then as usual.
 * @param {{column: string, label: string, title?: string, falls?: boolean}} props `falls` for the larger values first
 */
function SortButton({ column, label, title, falls = false }) {
  const { sort } = state.view.value;
  const turns = falls ? [`-${column}`, column, ''] : [column, `-${column}`, ''];
  const turn = () => setView({ sort: turns[turns.indexOf(sort) + 1] ?? turns[0] });
  const arrow = sort.replace(/^-/, '') === column && (sort.startsWith('-') ? '↓' : '↑');
  return html`<button class="quiet sort" title=${title ?? `Order by ${label.toLowerCase()}`} onClick=${turn}>
    <span class="name">${label}</span>${arrow && html`<span aria-hidden="true">${arrow}</span>`}
  </button>`;
}

/** @param {string} column */
function ariaSort(column) {
  const { sort } = state.view.value;
  if (sort.replace(/^-/, '') !== column) return undefined;
  return sort.startsWith('-') ? 'descending' : 'ascending';
}

/** @param {{column: string, label: string, class?: string, falls?: boolean}} props */
function SortHead({ column, label, class: more = 'wide-only', falls }) {
  return html`<th class=${more} aria-sort=${ariaSort(column)}>
    <${SortButton} column=${column} label=${label} falls=${falls} />
  </th>`;
}

/** @param {{column: Column, chosen: boolean}} props */
function MetricHead({ column: { key, label }, chosen }) {
  const remove = () => setView({ metrics: state.view.value.metrics.filter((metric) => metric !== key) });
  const column = chosen ? METRIC + key : key;
  return html`<th class="number wide-only" aria-sort=${ariaSort(column)}>
      <${SortButton} column=${column} label=${label} title=${`Order by ${key}`} falls />
      ${
        chosen &&
        html`<button
          class="quiet"
          onClick=${remove}
          title="Remove this column"
          aria-label=${`Remove the column ${key}`}
        >×</button>`
      }
    </th>
    <td class="spark wide-only" />`;
}

/** @param {{columns: Column[], chosen: boolean}} props */
function Head({ columns, chosen }) {
  return html`<thead>
    <tr>
      <th class="pick"><span class="visually-hidden">Compare</span></th>
      <${SortHead} column="state" label="State" />
      <${SortHead} column="name" label="Run" class="" />
      <${SortHead} column="project" label="Project" />
      <${SortHead} column="step" label="Step" class="number wide-only" falls />
      ${columns.map((column) => html`<${MetricHead} key=${column.key} column=${column} chosen=${chosen} />`)}
      <${SortHead} column="ranks" label="Ranks" class="number wide-only" falls />
      <${SortHead} column="updated" label="Updated" class="number wide-only" falls />
    </tr>
  </thead>`;
}

/**
 * The keys of the list, whose module is loaded after the list is shown.
 * @param {{current: readonly Run[]}} runs
 */
function useListKeys(runs) {
  useEffect(() => {
    let stop = () => {};
    let ended = false;
    import('./list-keys.js').then(({ startListKeys }) => {
      if (!ended) stop = startListKeys(() => runs.current);
    });
    return () => {
      ended = true;
      stop();
    };
  }, []);
}

/** @param {{app: App, runs: readonly Run[]}} props */
export function RunsTable({ app, runs }) {
  const { metrics, picked } = state.view.value;
  const columns = useMemo(() => metricColumns(metrics), [metrics.join('\n')]);
  const isPicked = new Set(picked);
  const listed = useRef(runs);
  listed.current = runs;
  useListKeys(listed);
  const select = useRef((/** @type {string} */ id, /** @type {boolean} */ range) =>
    range ? pickRange(listed.current, id) : togglePick(id),
  ).current;
  // A run that has not changed keeps its row: a thousand runs may report every second, of which few are on screen.
  const rows = useRef(/** @type {Map<string, {made: unknown[], row: any}>} */ (new Map()));
  const kept = rows.current;
  rows.current = new Map();
  const row = (/** @type {Run} */ run, /** @type {number} */ index) => {
    const made = [run, index, columns, isPicked.has(run.id)];
    const known = kept.get(run.id) ?? rows.current.get(run.id);
    const entry = known?.made.every((part, i) => part === made[i])
      ? known
      : {
          made,
          row: html`<${Row}
            key=${run.id}
            app=${app}
            run=${run}
            index=${index}
            columns=${columns}
            picked=${isPicked.has(run.id)}
            select=${select}
          />`,
        };
    rows.current.set(run.id, entry);
    return entry.row;
  };
  return html`<div class=${metrics.length > FITTING_METRICS ? 'panel flush list scroll' : 'panel flush list'}>
    <table class="grid runs" aria-rowcount=${runs.length + 1}>
      <${Head} columns=${columns} chosen=${metrics.length > 0} />
      <${VirtualRows} items=${runs} row=${row} />
    </table>
  </div>`;
}
