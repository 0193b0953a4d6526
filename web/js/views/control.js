// @ts-check
/** A control that the training declared: field, effect, outcome and history. Knows types, no particular control. */
import { html, useRef, useSignal } from '../../vendor/ui.js';
import { setting } from '../format.js';
import { ledgerText, outcome } from '../outcome.js';
import { state } from '../state.js';
import { expects, readValue } from '../value.js';
import { Ago, taking } from './parts.js';

const HISTORY = 6;

/** The outcome line of one control. @param {{name: string, unit?: string, problem?: string, page: Page}} props */
export function OutcomeLine({ name, unit = '', problem = '', page }) {
  const attempt = state.attempts.value[name];
  const command = attempt && state.commands.value.find((c) => c.id === attempt.id);
  const found = problem ? { tone: 'bad', text: `refused: ${problem}`, retry: false } : outcome(attempt, command, state.now.value, unit);
  return html`<p class=${`outcome ${found?.tone ?? ''}`} role="status" id=${`outcome-${name}`}>${found && html`<i aria-hidden="true" /><span>${found.text}</span>`}
    ${found?.retry && html`<button type="button" onClick=${() => page.session.retry(name)}>Send again</button>`}</p>`;
}

/** Who set what, newest first, each with a way back. @param {{control: Control, page: Page}} props */
function History({ control, page }) {
  const all = state.commands.value.filter((c) => c.control === control.name).sort((a, b) => (a.requested_at < b.requested_at ? 1 : -1));
  if (all.length === 0) return null;
  return html`<ol class="history" aria-label=${`History of ${control.name}`}>${all.slice(0, HISTORY).map((command) => {
    const before = Object.values(command.ranks ?? {}).find((r) => r.old !== undefined)?.old;
    const done = command.state === 'applied';
    return html`<li key=${command.id}><span class="change">${done && html`${setting(before)} → `}<b>${setting(command.value)}</b></span>
      <span class=${`name ${command.state === 'rejected' || command.state === 'expired' ? 'bad' : 'muted'}`} title=${ledgerText(command)}>${ledgerText(command)}</span>
      <span class="muted fixed"><${Ago} at=${command.requested_at} /></span>
      ${done && before !== undefined && state.mayControl.value
        ? html`<button type="button" class="quiet" onClick=${() => page.session.apply(control.name, before, `revert of ${command.id}`)} title=${`Set it back to ${setting(before)}`} aria-label=${`Revert to ${setting(before)}`}>Revert</button>` : html`<span />`}</li>`;
  })}</ol>`;
}

/** @param {{control: Control, id: string, text: Signal<string>, off: boolean, wrong: boolean, changed: () => void}} props */
function Field({ control, id, text, off, wrong, changed }) {
  const set = (/** @type {string} */ value) => {
    text.value = value;
    changed();
  };
  const name = control.name;
  if (control.type === 'bool') {
    return html`<select id=${id} aria-label=${name} value=${text} onChange=${taking(set)}><option value="true">on</option><option value="false">off</option></select>`;
  }
  if (control.type === 'str') return html`<input id=${id} aria-label=${name} disabled=${off} value=${text} onInput=${taking(set)} />`;
  const turn = (/** @type {KeyboardEvent} */ event) => {
    const by = event.key === 'ArrowUp' ? 1 : event.key === 'ArrowDown' ? -1 : 0;
    if (!by) return;
    event.preventDefault();
    const now = Number(text.value);
    if (!Number.isFinite(now)) return;
    const next = control.type === 'int' ? now + by * (event.shiftKey ? 10 : 1) : now * (by > 0 ? 1.1 : 1 / 1.1);
    const bounded = Math.min(control.maximum ?? Infinity, Math.max(control.minimum ?? -Infinity, next));
    set(control.type === 'int' ? String(bounded) : String(Number(bounded.toPrecision(4))));
  };
  // A text field in the role of a spin button: a number field would hide what was typed when it is not a number, and
  // then nothing could be said about it.
  return html`<input id=${id} role="spinbutton" aria-label=${name} inputmode=${control.type === 'int' ? 'numeric' : 'decimal'} autocomplete="off" spellcheck="false"
    disabled=${off} value=${text} aria-valuenow=${Number.isFinite(Number(text.value)) ? Number(text.value) : 0} aria-valuetext=${off ? 'off' : text.value || 'empty'}
    aria-valuemin=${control.minimum ?? undefined} aria-valuemax=${control.maximum ?? undefined} aria-invalid=${wrong} aria-describedby=${`outcome-${name}`}
    onKeyDown=${turn} onInput=${taking(set)} />`;
}

/**
 * @param {{control: Control, page: Page, effect?: (value: any) => string}} props
 * `effect` says what a value would do, before it is sent
 */
export function ControlCard({ control, page, effect = () => '' }) {
  const present = control.desired ?? control.value;
  const text = useSignal(present === null || present === undefined ? '' : String(present));
  const off = useSignal(control.nullable && present === null);
  const touched = useSignal(false);
  const problem = useSignal('');
  const shown = useRef(present);
  // A value that changed elsewhere moves into the field, unless somebody is typing in it.
  if (shown.current !== present && !touched.value) {
    shown.current = present;
    off.value = control.nullable && present === null;
    if (present !== null && present !== undefined) text.value = String(present);
  }
  const id = `control-${control.name}`;
  const read = () => {
    if (off.value) return { ok: /** @type {const} */ (true), value: null };
    if (control.type === 'bool') return { ok: /** @type {const} */ (true), value: text.value === 'true' };
    return readValue(control, text.value);
  };
  const changed = () => {
    touched.value = true;
    problem.value = '';
  };
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const found = read();
    problem.value = found.ok ? '' : found.message;
    if (!found.ok) {
      document.getElementById(id)?.focus();
      return;
    }
    touched.value = false;
    shown.current = present;
    page.session.apply(control.name, found.value);
  };
  const ahead = touched.value ? read() : null;
  const values = Object.entries(control.ranks ?? {}).map(([rank, r]) => `rank ${rank}: ${setting(r.value, control.unit)}`);
  const away = ['finished', 'failed', 'disconnected'].includes(state.run.value?.state ?? '') && 'The training is not connected: a value waits until it is back.';
  const differ = new Set(Object.values(control.ranks ?? {}).map((r) => JSON.stringify(r.value))).size > 1;
  return html`<form class="control" onSubmit=${submit} noValidate>
    <div class="line"><label for=${id} class="label">${control.name}</label>
      <span class="now" title=${values.join('\n')}>now <b>${setting(control.value, control.unit)}</b>${differ && html` <span class="warn">ranks differ</span>`}</span></div>
    <div class="line"><${Field} control=${control} id=${id} text=${text} off=${off.value} wrong=${problem.value !== ''} changed=${changed} />
      ${control.unit && html`<span class="muted">${control.unit}</span>`}
      ${control.nullable && html`<label class="check"><input type="checkbox" checked=${off} onChange=${() => { off.value = !off.value; changed(); }} /> off</label>`}
      <button class="primary" disabled=${!state.mayControl.value} title=${state.mayControl.value ? '' : 'This browser may look, not change: its token has no control scope'}>Apply</button></div>
    <p class="hint">${(ahead?.ok && effect(ahead.value)) || away || control.description || `Takes ${expects(control)}.`}</p>
    <${OutcomeLine} name=${control.name} unit=${control.unit} problem=${problem.value} page=${page} />
    <${History} control=${control} page=${page} />
  </form>`;
}
