// @ts-check
/** Past commands of a control, newest first, with a way back to the value before. */
import { html } from '../../vendor/ui.js';
import { commandText } from '../controls/outcome.js';
import { formatValue } from '../controls/value.js';
import { state } from '../data/state.js';
import { Age } from './text.js';

const MAX_ENTRIES = 6;

/** @param {{command: Command, before: unknown, app: App}} props */
function RevertButton({ command, before, app }) {
  const revert = () => app.commands.apply(command.control, before, `revert of ${command.id}`);
  const value = formatValue(before);
  return html`<button
    type="button"
    class="quiet"
    onClick=${revert}
    title=${`Set back to ${value}`}
    aria-label=${`Revert to ${value}`}
  >Revert</button>`;
}

/** @param {{command: Command, app: App}} props */
function Entry({ command, app }) {
  const before = Object.values(command.ranks ?? {}).find((rank) => rank.old !== undefined)?.old;
  const applied = command.state === 'applied';
  const failed = command.state === 'rejected' || command.state === 'expired';
  const canRevert = applied && before !== undefined && state.canControl.value;
  const text = commandText(command);
  return html`<li>
    <span class="change">${applied && html`${formatValue(before)} → `}<b>${formatValue(command.value)}</b></span>
    <span class=${`name ${failed ? 'bad' : 'muted'}`} title=${text}>${text}</span>
    <span class="muted fixed"><${Age} time=${command.requested_at} /></span>
    ${canRevert ? html`<${RevertButton} command=${command} before=${before} app=${app} />` : html`<span />`}
  </li>`;
}

/** @param {{control: Control, app: App}} props */
export function ControlHistory({ control, app }) {
  const commands = state.commands.value
    .filter((command) => command.control === control.name)
    .sort((a, b) => (a.requested_at < b.requested_at ? 1 : -1));
  if (commands.length === 0) return null;
  const entry = (/** @type {Command} */ command) => html`<${Entry} key=${command.id} command=${command} app=${app} />`;
  const label = `History of ${control.name}`;
  return html`<ol class="history" aria-label=${label}>${commands.slice(0, MAX_ENTRIES).map(entry)}</ol>`;
}
