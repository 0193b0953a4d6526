// @ts-check
/** The field of a control, by the type of its values. */
import { html } from '../../vendor/ui.js';
import { steppedText } from '../controls/value.js';
import { onValue } from './inputs.js';

/**
 * @typedef {object} ControlFieldProps
 * @property {Control} control
 * @property {string} id
 * @property {Signal<string>} text
 * @property {boolean} off whether the control is switched off
 * @property {boolean} invalid
 * @property {(text: string) => void} set
 */

/** @param {ControlFieldProps} props */
export function ControlField(props) {
  const { control, id, text, off, set } = props;
  const { name, type } = control;
  if (type === 'str') {
    return html`<input id=${id} aria-label=${name} disabled=${off} value=${text} onInput=${onValue(set)} />`;
  }
  if (type !== 'bool') return html`<${NumberField} ...${props} />`;
  return html`<select id=${id} aria-label=${name} value=${text} onChange=${onValue(set)}>
    <option value="true">on</option>
    <option value="false">off</option>
  </select>`;
}

/**
 * A text field with the role of a spin button. A number field would hide what was entered when it is not a number, and
 * then the message could not name it.
 * @param {ControlFieldProps} props
 */
function NumberField({ control, id, text, off, invalid, set }) {
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
    aria-valuetext=${off ? 'off' : text.value || 'empty'}
    aria-valuemin=${control.minimum ?? undefined}
    aria-valuemax=${control.maximum ?? undefined}
    aria-invalid=${invalid}
    aria-describedby=${`outcome-${control.name}`}
    inputmode=${control.type === 'int' ? 'numeric' : 'decimal'}
    autocomplete="off"
    spellcheck="false"
    disabled=${off}
    value=${text}
    onKeyDown=${step}
    onInput=${onValue(set)}
  />`;
}
