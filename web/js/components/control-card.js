// @ts-check
/** A control that a training process has declared: field, effect, outcome and history. Knows no particular one. */
import { html, useRef, useSignal } from '../../vendor/ui.js';
import { expectedText, formatValue, parseValue } from '../controls/value.js';
import { state } from '../data/state.js';
import { ControlField } from './control-field.js';
import { ControlHistory } from './control-history.js';
import { ControlOutcome } from './control-outcome.js';

/** @param {string | undefined} runState */
const isAway = (runState) => runState === 'finished' || runState === 'failed' || runState === 'disconnected';

/**
 * The input for a control, which follows the control's value until somebody edits it.
 * @param {Control} control
 */
function useInput(control) {
  const current = control.desired ?? control.value;
  const isOff = current === null || current === undefined;
  const text = useSignal(isOff ? '' : String(current));
  const off = useSignal(control.nullable && current === null);
  const edited = useSignal(false);
  const problem = useSignal('');
  const followed = useRef(current);
  if (followed.current !== current && !edited.value) {
    followed.current = current;
    off.value = control.nullable && current === null;
    if (!isOff) text.value = String(current);
  }
  const edit = () => {
    edited.value = true;
    problem.value = '';
  };
  return {
    ...{ text, off, edited, problem },
    set(/** @type {string} */ value) {
      text.value = value;
      edit();
    },
    toggleOff() {
      off.value = !off.value;
      edit();
    },
    /** @returns {ParsedValue} */
    parse: () => (off.value ? { ok: true, value: null } : parseValue(control, text.value)),
    submitted() {
      edited.value = false;
      followed.current = current;
    },
  };
}

/** @param {{control: Control, id: string}} props */
function CurrentValue({ control, id }) {
  const { name, value, unit, ranks } = control;
  const byRank = Object.entries(ranks ?? {});
  const title = byRank.map(([rank, held]) => `rank ${rank}: ${formatValue(held.value, unit)}`).join('\n');
  const differ = new Set(byRank.map(([, held]) => JSON.stringify(held.value))).size > 1;
  return html`<div class="line">
    <label for=${id} class="label">${name}</label>
    <span class="now" title=${title}>
      now <b>${formatValue(value, unit)}</b>${differ && html` <span class="warn">ranks differ</span>`}
    </span>
  </div>`;
}

function ApplyButton() {
  const allowed = state.canControl.value;
  const title = allowed ? '' : 'Read-only access: the token of this browser does not have the control scope';
  return html`<button class="primary" disabled=${!allowed} title=${title}>Apply</button>`;
}

/**
 * @typedef {object} ControlCardProps
 * @property {Control} control
 * @property {App} app
 * @property {(value: unknown) => string} [effect] says what a value would change
 */

/** @param {ControlCardProps} props */
export function ControlCard({ control, app, effect = () => '' }) {
  const input = useInput(control);
  const id = `control-${control.name}`;
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const parsed = input.parse();
    input.problem.value = parsed.ok ? '' : parsed.message;
    if (!parsed.ok) {
      document.getElementById(id)?.focus();
      return;
    }
    input.submitted();
    app.commands.apply(control.name, parsed.value);
  };
  return html`<form class="control" onSubmit=${submit} noValidate>
    <${CurrentValue} control=${control} id=${id} />
    <div class="line">
      <${ControlField}
        control=${control}
        id=${id}
        text=${input.text}
        off=${input.off.value}
        invalid=${input.problem.value !== ''}
        set=${input.set}
      />
      ${control.unit && html`<span class="muted">${control.unit}</span>`}
      ${
        control.nullable &&
        html`<label class="check">
          <input type="checkbox" checked=${input.off} onChange=${input.toggleOff} /> off
        </label>`
      }
      <${ApplyButton} />
    </div>
    <p class="hint">${hint(control, input.edited.value ? input.parse() : null, effect)}</p>
    <${ControlOutcome} name=${control.name} unit=${control.unit} problem=${input.problem.value} app=${app} />
    <${ControlHistory} control=${control} app=${app} />
  </form>`;
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
  if (isAway(state.run.value?.state)) {
    return 'The training process is not connected; it receives the value when it reconnects.';
  }
  return control.description || `Expected: ${expectedText(control)}.`;
}
