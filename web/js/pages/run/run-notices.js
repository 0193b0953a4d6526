// @ts-check
/** What is wrong with a run: its failure, dropped points, and the newest alert. */
import { html } from '../../../vendor/ui.js';
import { Icon } from '../../components/icons.js';
import { Age } from '../../components/text.js';
import { state } from '../../data/state.js';
import { formatInteger, pluralize } from '../../format/numbers.js';
import { runHref } from '../../routing/links.js';

/**
 * The last message of a failed run.
 * @param {{run: Run}} props
 */
function Failure({ run: { state: runState, message } }) {
  if (runState !== 'failed' || !message) return null;
  return html`<p class="alert error">
    <${Icon} shape="failed" solid /> <strong class="name" title=${message}>${message}</strong>
  </p>`;
}

/** @param {{run: Run}} props */
function Dropped({ run }) {
  const { dropped } = run.received;
  if (!dropped) return null;
  return html`<p class="alert" role="status">
    <${Icon} shape="stalled" solid /> <strong>${formatInteger(dropped)} points dropped</strong>${' '}
    <span>The spool of the training process was full, and its oldest unacknowledged points were discarded.</span>
  </p>`;
}

/**
 * The newest warning or error, and how many there are.
 * @param {{run: Run}} props
 */
function Alerts({ run }) {
  const alerts = state.events.value.filter((event) => event.level !== 'info');
  const last = alerts.at(-1);
  if (!last) return null;
  const step = last.step === null || last.step === undefined ? '' : `step ${formatInteger(last.step)}, `;
  const all = html` · <a href=${runHref(run.id, 'events')}>${pluralize(alerts.length, 'alert')}</a>`;
  return html`<p class=${`alert ${last.level}`} role="status">
    <${Icon} shape="stalled" solid /> <strong class="name" title=${last.text}>${last.text}</strong>${' '}
    <span class="muted">${step}<${Age} time=${last.time} /> ago${all}</span>
  </p>`;
}

/** @param {{run: Run}} props */
export function RunNotices({ run }) {
  return html`<${Failure} run=${run} /><${Dropped} run=${run} /><${Alerts} run=${run} />`;
}
