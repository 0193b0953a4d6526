// @ts-check
/** The outcome of the last request for a control. */
import { html } from '../../vendor/ui.js';
import { requestOutcome } from '../controls/outcome.js';
import { Commands } from '../data/commands.js';
import { state } from '../data/state.js';

/**
 * @param {{control: Control, problem?: string, app: App}} props `problem` is why the input was not sent
 */
export function ControlOutcome({ control, problem = '', app }) {
  const request = state.requests.value[control.name];
  const commands = state.commands.value;
  const command = request && commands.find((known) => known.id === request.id);
  const outcome = problem
    ? { tone: 'bad', text: `refused: ${problem}`, retry: false }
    : requestOutcome(request, command, state.now.value, control, commands);
  const retry = () => new Commands(app.api).retry(control.name);
  return html`<p class=${`outcome ${outcome?.tone ?? ''}`} role="status" id=${`outcome-${control.name}`}>
    ${outcome && html`<i aria-hidden="true" /><span>${outcome.text}</span>`}
    ${outcome?.retry && html`<button type="button" onClick=${retry}>Send again</button>`}
  </p>`;
}
