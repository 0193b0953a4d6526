// @ts-check
/** How the compared runs differ: newest values against a reference, and what each run says about itself. */
import { html, useEffect, useSignal } from '../../../vendor/ui.js';
import { LineSwatch } from '../../components/line-legend.js';
import { Loading } from '../../components/placeholders.js';
import { isOwnMetric } from '../../data/headline.js';
import { compareRuns, deltaOf, describeRun, onlyDifferences } from '../../data/run-differences.js';
import { orderKeys } from '../../data/series-names.js';
import { state, toggleItem } from '../../data/state.js';
import { pluralize } from '../../format/numbers.js';
import { formatMetric } from '../../format/units.js';
import { routeHref } from '../../routing/links.js';
import { viewSearch } from '../../routing/view.js';

/** More columns cannot be read; each run is asked once. */
const MAX_RUNS = 16;
const MAX_METRICS = 50;
/** As a folded section in the address: this one is open, and with all entries. */
const OPEN = 'run-differences';
const ALL = 'run-differences/all';

/** @typedef {import('../../data/run-differences.js').Description} Description */
/** @typedef {import('../../data/run-differences.js').ComparedGroup} ComparedGroup */
/** @typedef {{app: App, runs: readonly Run[], numbers: ReadonlyMap<string, number>}} DifferencesProps */

/**
 * Load what runs say about themselves, each once while the section is open.
 * @param {App} app
 * @param {readonly Run[]} runs
 */
function useDescriptions(app, runs) {
  const known = useSignal(/** @type {ReadonlyMap<string, Description | Error>} */ (new Map()));
  const ids = runs.map((run) => run.id);
  useEffect(() => {
    const aborter = new AbortController();
    const keep = (/** @type {string} */ id, /** @type {Description | Error} */ found) => {
      if (!aborter.signal.aborted) known.value = new Map(known.value).set(id, found);
    };
    for (const id of ids) {
      if (known.value.get(id) instanceof Map) continue;
      app.api.info(id, null, aborter.signal).then(
        (answer) => keep(id, describeRun(answer)),
        (error) => keep(id, error),
      );
    }
    return () => aborter.abort();
  }, [ids.join(' '), state.connection.value.up]);
  return known.value;
}

/** @param {DifferencesProps} props */
function Head({ app, runs, numbers }) {
  const { runs: all } = /** @type {{runs: string[]}} */ (state.route.value);
  const first = (/** @type {string} */ id) =>
    routeHref({ page: 'compare', runs: [id, ...all.filter((other) => other !== id)] }) +
    viewSearch(state.view.value).replace('?', '&');
  const column = (/** @type {Run} */ { id, name }, /** @type {number} */ i) => html`<th key=${id} scope="col">
    <${LineSwatch} app=${app} number=${numbers.get(id) ?? 0} />
    <span class="name" title=${`${name} (${id})`}>${name || id}</span>
    ${
      i === 0
        ? html`<span class="sub">reference</span>`
        : html`<a class="sub" href=${first(id)} aria-label=${`Make ${name || id} the reference`}>make reference</a>`
    }
  </th>`;
  return html`<thead><tr><th scope="col">Entry</th>${runs.map(column)}</tr></thead>`;
}

/** @param {{runs: readonly Run[]}} props */
function MetricRows({ runs }) {
  const chosen = state.view.value.metrics;
  const keys = orderKeys(new Set(runs.flatMap(({ summary }) => Object.keys(summary))));
  const shown = keys.filter((key) => (chosen.length ? chosen.includes(key) : isOwnMetric(key))).slice(0, MAX_METRICS);
  if (shown.length === 0) return null;
  const cell =
    (/** @type {string} */ key) =>
    (/** @type {Run} */ { id, summary }) => {
      if (summary[key] === undefined) return html`<td key=${id} class="muted">–</td>`;
      const delta = id === runs[0].id ? null : deltaOf(summary[key], runs[0].summary[key]);
      const sign = delta !== null && delta > 0 ? '+' : '';
      return html`<td key=${id}>
      ${formatMetric(key, summary[key])}
      ${delta !== null && html` <span class="muted">${delta === 0 ? '±0' : sign + formatMetric(key, delta)}</span>`}
    </td>`;
    };
  const row = (/** @type {string} */ key) =>
    html`<tr key=${key}><th scope="row">${key}</th>${runs.map(cell(key))}</tr>`;
  return html`<tbody><${GroupRow} title="Newest values" columns=${runs.length} />${shown.map(row)}</tbody>`;
}

/** @param {{title: string, columns: number}} props */
function GroupRow({ title, columns }) {
  return html`<tr><th scope="rowgroup" colspan=${columns + 1}>${title}</th></tr>`;
}

/** @param {{group: ComparedGroup, columns: number}} props */
function GroupRows({ group: { title, rows }, columns }) {
  const row = (/** @type {ComparedGroup['rows'][0]} */ { label, texts, differs }) => {
    const cell = (/** @type {string | null} */ text, /** @type {number} */ i) => {
      const look = [differs && text !== texts[0] ? 'differs' : '', text === null ? 'muted' : ''].join(' ');
      return html`<td key=${i} class=${look}>${text ?? '–'}</td>`;
    };
    return html`<tr key=${label}><th scope="row">${label}</th>${texts.map(cell)}</tr>`;
  };
  return html`<tbody><${GroupRow} title=${title} columns=${columns} />${rows.map(row)}</tbody>`;
}

/** @param {{texts: string[]}} props */
function Notes({ texts }) {
  return texts.length ? html`<p class="muted" role="status">${texts.join(' · ')}</p>` : null;
}

/** @param {DifferencesProps & {left: number}} props `left` runs have no column */
function Table({ app, runs, numbers, left }) {
  const known = useDescriptions(app, runs);
  if (runs.some(({ id }) => !known.has(id))) return html`<${Loading} />`;
  const described = runs.map(({ id }) => known.get(id));
  const groups = compareRuns(described.map((found) => (found instanceof Map ? found : new Map())));
  const isAll = state.view.value.folded.includes(ALL);
  const shown = isAll ? groups : onlyDifferences(groups);
  const notes = runs.flatMap(({ id, name }, i) => {
    const found = described[i];
    return found instanceof Error ? [`${name || id}: ${found.message}`] : [];
  });
  if (left > 0) notes.push(`${pluralize(left, 'more run')} not shown; hide others for them`);
  if (shown.length === 0) notes.push('The runs say the same about themselves');
  return html`<label class="field">
      <input type="checkbox" checked=${!isAll} onChange=${() => toggleItem('folded', ALL)} /> Only differences
    </label>
    <${Notes} texts=${notes} />
    <div class="panel scroll" role="region" aria-label="Differences between runs" tabindex="0">
      <table class="grid dense differences">
        <${Head} app=${app} runs=${runs} numbers=${numbers} />
        <${MetricRows} runs=${runs} />
        ${shown.map((group) => html`<${GroupRows} key=${group.title} group=${group} columns=${runs.length} />`)}
      </table>
    </div>`;
}

/** @param {DifferencesProps} props */
export function RunDifferences({ app, runs, numbers }) {
  const open = state.view.value.folded.includes(OPEN);
  const toggle = (/** @type {any} */ event) => {
    if (event.currentTarget.open !== open) toggleItem('folded', OPEN);
  };
  const compared = runs.slice(0, MAX_RUNS);
  return html`<details class="section" open=${open} onToggle=${toggle}>
    <summary><h2>Differences</h2><span class="muted">configuration, code, versions, newest values</span></summary>
    ${open && html`<${Table} app=${app} runs=${compared} numbers=${numbers} left=${runs.length - compared.length} />`}
  </details>`;
}
