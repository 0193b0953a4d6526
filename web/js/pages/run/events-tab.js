// @ts-check
/** The events of a run, newest first: alerts, applied commands, new attempts, lost connections. */
import { html } from '../../../vendor/ui.js';
import { SearchField } from '../../components/inputs.js';
import { EmptyState, Loading } from '../../components/placeholders.js';
import { searchEvents } from '../../data/events.js';
import { setView, state } from '../../data/state.js';
import { formatInteger, pluralize } from '../../format/numbers.js';
import { formatDateTime } from '../../format/time.js';
import { effectHref } from '../../routing/navigation.js';

/** @param {{event: RunEvent}} props */
function Row({ event }) {
  const { kind, level, rank, step, text, time, data } = event;
  const command = kind === 'control' && data?.command;
  const run = state.run.value?.id ?? '';
  return html`<tr>
    <td class="fit">${formatDateTime(time)}</td>
    <td class="number">${formatInteger(step)}</td>
    <td class="number wide-only">${rank ?? '–'}</td>
    <td class=${`fit wide-only ${level}`}>${level}</td>
    <td class="fit wide-only">${kind}</td>
    <td class="text">${text} ${command && html`<a href=${effectHref(run, command)}>Effect</a>`}</td>
  </tr>`;
}

function Head() {
  return html`<thead>
    <tr>
      <th>Time</th>
      <th class="number">Step</th>
      <th class="number wide-only">Rank</th>
      <th class="wide-only">Level</th>
      <th class="wide-only">Kind</th>
      <th>Event</th>
    </tr>
  </thead>`;
}

/** @param {{total: number}} props */
function NoEvents({ total }) {
  if (total === 0) {
    return html`<${EmptyState} title="No events yet">
      <p>Alerts, applied commands, new attempts and lost connections appear here.</p>
    <//>`;
  }
  const showAll = () => setView({ q: '' });
  return html`<${EmptyState} title="No matching events">
    <p>None of ${pluralize(total, 'event')} contains “${state.view.value.q}”.</p>
    <p><button onClick=${showAll}>Show all events</button></p>
  <//>`;
}

export function EventsTab() {
  if (state.load.value === 'loading') return html`<${Loading} />`;
  const all = state.events.value;
  const shown = searchEvents(all, state.view.value.q);
  const row = (/** @type {RunEvent} */ event) => html`<${Row} key=${event.id} event=${event} />`;
  return html`<div class="bar">
      <h2>Events</h2>
      <span class="muted">${pluralize(shown.length, 'event')}</span>
      <span class="grow" />
      <${SearchField} label="Search events" />
    </div>
    ${
      shown.length === 0
        ? html`<${NoEvents} total=${all.length} />`
        : html`<div class="panel flush">
            <table class="grid dense events" aria-label="Events">
              <${Head} />
              <tbody>${shown.map(row)}</tbody>
            </table>
          </div>`
    }`;
}
