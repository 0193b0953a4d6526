// @ts-check
/** The head of a run: name, state, and the figures that matter most. */
import { html, useEffect } from '../../../vendor/ui.js';
import { Icon, StateBadge } from '../../components/icons.js';
import { Age, Figure } from '../../components/text.js';
import { totalTableSize } from '../../data/filter-passes.js';
import { headlineMetrics, metricLabel } from '../../data/headline.js';
import { orderedKeys, state } from '../../data/state.js';
import { formatCompact, formatExact, formatInteger, formatPercent } from '../../format/numbers.js';
import { epochSeconds, formatAge } from '../../format/time.js';
import { formatBytes, formatMetric } from '../../format/units.js';
import { routeHref } from '../../routing/links.js';

const SILENT_AFTER_S = 30;
const MAX_TAGS = 6;

/** @param {{run: Run}} props */
function Freshness({ run }) {
  const { up, since } = state.connection.value;
  if (!up) return html`<span class="warn">as of ${formatAge(state.now.value - since)} ago</span>`;
  if (run.state !== 'running') return html`<span class="muted">last seen <${Age} time=${run.updated_at} /> ago</span>`;
  const age = state.now.value - epochSeconds(run.updated_at);
  if (age > SILENT_AFTER_S) return html`<span class="warn">no data for ${formatAge(age)}</span>`;
  return html`<span class="muted">updated ${formatAge(age)} ago</span>`;
}

/** @param {{run: Run}} props */
export function RunTitle({ run }) {
  const tags = [run.project, ...run.tags].slice(0, MAX_TAGS);
  const tag = (/** @type {string} */ text) => html`<span key=${text} class="tag name" title=${text}>${text}</span>`;
  return html`<div class="title">
    <a class="back" href=${routeHref({ page: 'runs' })} aria-label="All runs"><${Icon} shape="back" /></a>
    <h1 class="name" title=${run.name}>${run.name || run.id}</h1>
    <${StateBadge} state=${run.state} known=${state.connection.value.up} />
    <${Freshness} run=${run} />
    <span class="tags desktop-only">${tags.map(tag)}</span>
  </div>`;
}

/** @param {{run: Run}} props */
function TableRows({ run }) {
  const rows = totalTableSize(state.passes.value, run.summary, 'rows');
  const bytes = totalTableSize(state.passes.value, run.summary, 'bytes');
  if (rows === null) return null;
  const size = bytes !== null && html` <small>${formatBytes(bytes)}</small>`;
  const value = html`${formatCompact(rows)}${size}`;
  return html`<${Figure} label="Table rows" title=${formatExact(rows)} value=${value} />`;
}

/** @param {{run: Run}} props */
function Ranks({ run: { ranks, world_size } }) {
  const of = world_size > ranks.length && html` <small>of ${world_size}</small>`;
  return html`<${Figure} label="Ranks" value=${html`${ranks.length}${of}`} />`;
}

/** @param {{run: Run}} props */
function Attempts({ run: { attempts } }) {
  if (attempts < 2) return null;
  const title = 'Dashed lines show points that a later attempt has superseded';
  return html`<${Figure} label="Attempts" value=${attempts} title=${title} />`;
}

/**
 * What arrived, and what is missing.
 * @param {{run: Run}} props
 */
function Received({ run }) {
  const { points, missing } = run.received;
  const title = 'Points received; frames that are missing in the numbering of their writer';
  const value = html`${formatInteger(points)} <small>points, ${formatInteger(missing)} missing</small>`;
  return html`<${Figure} label="Received" tone=${missing ? 'bad' : ''} title=${title} value=${value} />`;
}

/**
 * What the monitor costs the training process, by its own measurement.
 * @param {{run: Run}} props
 */
function MonitorCost({ run }) {
  const own = (/** @type {string} */ name) => run.summary[`monitor/${name}`];
  const share = own('time_share');
  if (share === undefined) return null;
  const [median, p99] = ['step_cost_us_p50', 'step_cost_us_p99'].map((name) => formatMetric(name, own(name)));
  const queued = formatInteger(own('queue_depth'));
  const rate = formatBytes(own('bytes_per_s'));
  const title = `${median} per step, p99 ${p99}; ${queued} values waiting to be sent; ${rate}/s`;
  // The share is extrapolated from a few measured calls, and may come out above the whole.
  const value = html`${formatPercent(Math.min(1, Number(share)))} <small>of step time</small>`;
  return html`<${Figure} label="Monitor" title=${title} value=${value} />`;
}

/**
 * The newest values of the run's most important metrics, of the rank that the charts show.
 * @param {{app: App, run: Run}} props
 */
function Headline({ app, run }) {
  const { metrics, rank: shown } = state.view.value;
  const keys = headlineMetrics(orderedKeys.value, metrics);
  const rank = typeof shown === 'number' ? shown : run.ranks[0];
  useEffect(() => app.newest.follow(run.id, keys), [run.id, keys.join('\n')]);
  const figure = (/** @type {string} */ key) => {
    const value = app.newest.value(run.id, key);
    const owner = run.ranks.length > 1 && html` <small>rank ${rank}</small>`;
    return html`<${Figure}
      key=${key}
      label=${html`${metricLabel(key)}${owner}`}
      title=${`${key}: ${formatExact(value)}`}
      value=${formatMetric(key, value)}
    />`;
  };
  return keys.map(figure);
}

/**
 * One line of figures, which scrolls where there is no room for all.
 * @param {{app: App, run: Run}} props
 */
export function RunFigures({ app, run }) {
  return html`<div class="strip" role="region" aria-label="Figures" tabindex="0">
    <dl class="figures">
      <${Figure} label="Step" value=${formatInteger(run.last_step)} />
      <${Headline} app=${app} run=${run} />
      <${TableRows} run=${run} />
      <${Ranks} run=${run} />
      <${Attempts} run=${run} />
      <${Received} run=${run} />
      <${MonitorCost} run=${run} />
    </dl>
  </div>`;
}
