// @ts-check
/** Everything that was changed in a run, newest first, with a way back to the values before. */
import { html, useSignal } from '../../vendor/ui.js';
import { canRevert, changesOf, isApplied, outcomesByRank } from '../controls/changes.js';
import { commandText } from '../controls/outcome.js';
import { formatValue, valueText } from '../controls/value.js';
import { Commands } from '../data/commands.js';
import { setView, state } from '../data/state.js';
import { auditHref } from '../routing/links.js';
import { lazyView } from './lazy-view.js';
import { Age } from './text.js';

const FEW = 10;
const EffectCard = lazyView(async () => (await import('./effect-card.js')).EffectCard);

/** @param {{change: import('../controls/changes.js').Change}} props */
function ChangeText({ change: { name, before, after } }) {
  const control = state.controls.value.find((known) => known.name === name);
  if (control?.type === 'action') return html`<b>${name}</b>`;
  const now = control ? valueText(control, after) : formatValue(after);
  return html`<span>${name} ${before !== undefined && html`${formatValue(before)} → `}<b>${now}</b></span>`;
}

/** @param {{command: Command, app: App}} props */
function RevertButton({ command, app }) {
  const before = changesOf(command).map((change) => [change.name, formatValue(change.before)]);
  const values = before.map(([, value]) => value).join(', ');
  return html`<button
    type="button"
    class="quiet"
    disabled=${state.run.value?.state === 'finished'}
    onClick=${() => new Commands(app.api).revert(command)}
    aria-label=${`Revert to ${values}: ${before.map(([name]) => name).join(', ')}`}
  >Revert</button>`;
}

/** @param {{command: Command}} props */
function EffectButton({ command: { id } }) {
  const isOpen = state.view.value.effect === id;
  const toggle = () => setView({ effect: isOpen ? '' : id });
  return html`<button type="button" class="quiet" aria-expanded=${isOpen} onClick=${toggle}>Effect</button>`;
}

/** @param {{command: Command, app: App}} props */
function Entry({ command, app }) {
  const { requested_by: by, reverts, ranks } = command;
  // Without a reason of its own a revert has one that names the other command.
  const reason = reverts && command.reason.endsWith(reverts) ? '' : command.reason;
  const failed = command.state === 'rejected' || command.state === 'expired';
  const change = (/** @type {import('../controls/changes.js').Change} */ one) =>
    html`<${ChangeText} key=${one.name} change=${one} />`;
  const outcome = html`<span class=${failed ? 'bad' : ''}>${commandText(command, state.commands.value)}</span>`;
  return html`<li>
    <div class="line">
      <span class="change">${changesOf(command).map(change)}</span>
      <span>
        ${isApplied(command) && html`<${EffectButton} command=${command} />`}
        ${
          canRevert(command, state.controls.value) &&
          state.canControl.value &&
          html`<${RevertButton} command=${command} app=${app} />`
        }
      </span>
    </div>
    <div class="muted">
      <${Age} time=${command.requested_at} /> ago${by && ` by ${by}`}${reverts && ', a revert'}${
        reason && `: ${reason}`
      }
    </div>
    ${
      Object.keys(ranks).length > 1
        ? html`<details>
          <summary>${outcome}</summary>
          <ul>${outcomesByRank(command).map((text) => html`<li key=${text}>${text}</li>`)}</ul>
        </details>`
        : outcome
    }
    ${command.id === state.view.value.effect && html`<${EffectCard} command=${command} app=${app} />`}
  </li>`;
}

/** @param {{run: Run, app: App}} props */
export function ChangeHistory({ run, app }) {
  const all = useSignal(false);
  const commands = [...state.commands.value].sort((a, b) => (a.requested_at < b.requested_at ? 1 : -1));
  if (commands.length === 0) return null;
  const isShown = (/** @type {Command} */ { id }, /** @type {number} */ place) =>
    all.value || place < FEW || id === state.view.value.effect;
  const shown = commands.filter(isShown);
  const showAll = () => {
    all.value = true;
  };
  return html`<details class="section" open>
    <summary>
      <h2>Changes</h2>
      <span class="muted">${commands.length}</span>
    </summary>
    <ol class="panel history" aria-label="Changes">
      ${shown.map((command) => html`<${Entry} key=${command.id} command=${command} app=${app} />`)}
    </ol>
    <p class="more">
      ${shown.length < commands.length && html`<button onClick=${showAll}>Show more changes</button>`}
      <a class="button" href=${auditHref(run.id)} download>Download as CSV</a>
    </p>
  </details>`;
}
