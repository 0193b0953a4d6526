// @ts-check
/** The field of a control, by the type of its values. */
import { html } from '../../vendor/ui.js';
import { fieldText, formatValue, steppedText } from '../controls/value.js';
import { onValue } from './inputs.js';

/**
 * @typedef {object} ControlFieldProps
 * @property {Control} control
 * @property {string} id
 * @property {Signal<string>} text
 * @property {boolean} none whether the value is none
 * @property {boolean} invalid
 * @property {(text: string) => void} set
 */

/** @param {ControlFieldProps} props */
export function ControlField(props) {
  const { control, id, text, none, set } = props;
  const { name, type } = control;
  if (type === 'str') {
    return html`<input id=${id} aria-label=${name} disabled=${none} value=${text} onInput=${onValue(set)} />`;
  }
  if (type !== 'bool' && type !== 'enum') return html`<${NumberField} ...${props} />`;
  const choices = type === 'bool' ? [true, false] : (control.choices ?? []);
  const option = (/** @type {unknown} */ choice) => {
    const value = fieldText(control, choice);
    return html`<option key=${value} value=${value}>${formatValue(choice)}</option>`;
  };
  return html`<select id=${id} aria-label=${name} disabled=${none} value=${text} onChange=${onValue(set)}>
    ${text.value === '' && html`<option value="">choose…</option>`}${choices.map(option)}
  </select>`;
}

/**
 * A text field with the role of a spin button. A number field would hide what was entered when it is not a number, and
 * then the message could not name it.
 * @param {ControlFieldProps} props
 */
function NumberField({ control, id, text, none, invalid, set }) {
  const number = Number(text.value);
  const step = (/** @type {KeyboardEvent} */ event) => {
    const direction = event.key === 'ArrowUp' ? 1 : event.key === 'ArrowDown' ? -1 : 0;
    if (!direction) return;
    event.preventDefault();
    const next = steppedText(control, text.value, direction, event.shiftKey);
    if (next !== null) set(next);
  };
  return html`<input
    id=${id}
    role="spinbutton"
    aria-label=${control.name}
    aria-valuenow=${Number.isFinite(number) ? number : 0}
    aria-valuetext=${none ? 'none' : text.value || 'empty'}
    aria-valuemin=${control.minimum ?? undefined}
    aria-valuemax=${control.maximum ?? undefined}
    aria-invalid=${invalid}
    aria-describedby=${`outcome-${control.name}`}
    inputmode=${control.type === 'int' ? 'numeric' : 'decimal'}
    autocomplete="off"
    spellcheck="false"
    disabled=${none}
    value=${text}
    onKeyDown=${step}
    onInput=${onValue(set)}
  />`;
}
