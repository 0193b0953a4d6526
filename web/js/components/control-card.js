// @ts-check
/** A control that a training process has declared: field, effect and outcome. Knows no particular one. */
import { html, useRef, useSignal } from '../../vendor/ui.js';
import { differsText, expectedText, fieldText, formatValue, parseValue } from '../controls/value.js';
import { Commands } from '../data/commands.js';
import { state } from '../data/state.js';
import { ConfirmDialog } from './confirm-dialog.js';
import { ControlField } from './control-field.js';
import { ControlOutcome } from './control-outcome.js';
import { onValue } from './inputs.js';

/**
 * The input for a control, which follows the control's value until somebody edits it.
 * @param {Control} control
 */
function useInput(control) {
  const current = control.desired;
  const isNone = current === null || current === undefined;
  const text = useSignal(fieldText(control, current));
  const none = useSignal(control.nullable && isNone);
  const reason = useSignal('');
  const edited = useSignal(false);
  const problem = useSignal('');
  const followed = useRef(current);
  if (followed.current !== current && !edited.value) {
    followed.current = current;
    none.value = control.nullable && isNone;
    if (!isNone) text.value = fieldText(control, current);
  }
  const edit = () => {
    edited.value = true;
    problem.value = '';
  };
  return {
    ...{ text, none, reason, edited, problem },
    set(/** @type {string} */ value) {
      text.value = value;
      edit();
    },
    toggleNone() {
      none.value = !none.value;
      edit();
    },
    /** @returns {ParsedValue} */
    parse: () => (none.value ? { ok: true, value: null } : parseValue(control, text.value)),
    submitted() {
      edited.value = false;
      reason.value = '';
      followed.current = current;
    },
  };
}

/** @param {{control: Control, id: string}} props */
function Heading({ control, id }) {
  const { name, value, unit, type } = control;
  const differs = differsText(control);
  if (type === 'action') return html`<span class="label">${name}</span>`;
  return html`<div class="line">
    <label for=${id} class="label">${name}</label>
    <span class="now">
      now <b>${formatValue(value, unit)}</b>${differs && html`, <span class="warn">${differs}</span>`}
    </span>
  </div>`;
}

/** @param {{label: string}} props */
function SendButton({ label }) {
  const finished = state.run.value?.state === 'finished';
  const readOnly = 'Read-only access: the token of this browser does not have the control scope';
  const title = finished ? 'The run has finished' : state.canControl.value ? undefined : readOnly;
  return html`<button class="primary" disabled=${title !== undefined} title=${title}>${label}</button>`;
}

/**
 * The field with what belongs to it; a reason is asked for once there is something to send.
 * @param {{control: Control, id: string, input: ReturnType<typeof useInput>}} props
 */
function ValueLine({ control, id, input }) {
  const setReason = onValue((value) => {
    input.reason.value = value;
  });
  const invalid = input.problem.value !== '';
  return html`<div class="line">
      <${ControlField}
        ...${{ control, id, invalid, text: input.text, none: input.none.value, set: input.set }}
      />
      ${control.unit && html`<span class="muted">${control.unit}</span>`}
      ${
        control.nullable &&
        html`<label class="check">
          <input type="checkbox" checked=${input.none} onChange=${input.toggleNone} /> none
        </label>`
      }
      <${SendButton} label="Apply" />
    </div>
    ${
      input.edited.value &&
      html`<label class="field reason">
        Reason (optional) <input value=${input.reason} onInput=${setReason} maxlength="1000" />
      </label>`
    }`;
}

/**
 * @typedef {object} ControlCardProps
 * @property {Control} control
 * @property {App} app
 * @property {(value: unknown) => string} [effect] says what a value would change
 * @property {(value: unknown) => unknown} [preview] shows what an entered value would change
 */

/** @param {ControlCardProps} props */
export function ControlCard({ control, app, effect = () => '', preview = () => null }) {
  const input = useInput(control);
  const asking = useSignal(/** @type {{value: unknown} | null} */ (null));
  const id = `control-${control.name}`;
  const isAction = control.type === 'action';
  const send = (/** @type {unknown} */ value, /** @type {string} */ reason) => {
    input.submitted();
    new Commands(app.api).apply(control.name, value, reason);
  };
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    /** @type {ParsedValue} */
    const parsed = isAction ? { ok: true, value: null } : input.parse();
    input.problem.value = parsed.ok ? '' : parsed.message;
    if (!parsed.ok) document.getElementById(id)?.focus();
    else if (isAction || control.confirm) asking.value = { value: parsed.value };
    else send(parsed.value, input.reason.value.trim());
  };
  const close = () => {
    asking.value = null;
  };
  const asked = asking.value;
  const edited = input.edited.value ? input.parse() : null;
  return html`<form class="control" onSubmit=${submit} noValidate>
      <${Heading} control=${control} id=${id} />
      ${
        isAction
          ? html`<div class="line"><${SendButton} label=${`${control.name}…`} /></div>`
          : html`<${ValueLine} control=${control} id=${id} input=${input} />`
      }
      <p class="hint">${hint(control, edited, effect)}</p>
      ${edited?.ok && preview(edited.value)}
      <${ControlOutcome} control=${control} problem=${input.problem.value} app=${app} />
    </form>
    ${
      asked &&
      html`<${ConfirmDialog}
        title=${isAction ? control.name : `${control.name}: ${formatValue(asked.value, control.unit)}`}
        text=${control.confirm || control.description || 'This is asked of all ranks of the run.'}
        action=${isAction ? control.name : 'Apply'}
        reason=${input.reason.value}
        confirm=${(/** @type {string} */ reason) => send(asked.value, reason)}
        close=${close}
      />`
    }`;
}

/**
 * Return what is most worth knowing before a value is sent.
 * @param {Control} control
 * @param {ParsedValue | null} edited
 * @param {(value: unknown) => string} effect
 */
function hint(control, edited, effect) {
  const change = edited?.ok && effect(edited.value);
  if (change) return change;
  const { state: runState, ranks = [] } = state.run.value ?? {};
  if (runState === 'finished') return 'The run has finished; nothing can be changed any more.';
  if (runState === 'failed' || runState === 'disconnected') {
    return 'The training process is not connected; it receives the value when it reconnects.';
  }
  const isAction = control.type === 'action';
  const expected = isAction ? '' : `Expected: ${expectedText(control)}.`;
  const [all, one] = isAction ? ['do it', 'does it'] : ['change', 'changes'];
  const each = control.apply === 'each' ? `Each rank ${one} at its next step.` : `All ranks ${all} at one step.`;
  return `${control.description || expected} ${ranks.length > 1 ? each : ''}`.trim();
}
