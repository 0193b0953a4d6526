// @ts-check
/** Reads what a person typed into a control's field, with an answer that teaches. Pure. */

/** "1 or more", "between 0 and 10". @param {Control} control */
export function boundsText({ minimum, maximum }) {
  if (minimum !== null && maximum !== null) return `between ${minimum} and ${maximum}`;
  if (minimum !== null) return `${minimum} or more`;
  return maximum !== null ? `${maximum} or less` : '';
}

/** What the field takes, in words. @param {Control} control */
export function expects(control) {
  const noun = control.type === 'int' ? 'a whole number' : control.type === 'float' ? 'a number' : 'a text';
  const bounds = control.type === 'str' ? '' : boundsText(control);
  const off = control.nullable ? ', or off' : '';
  return `${noun}${bounds ? ` of ${bounds}`.replace('of between', 'between') : ''}${off}`;
}

/** The value of a typed text, or why it is none. @param {Control} control @param {string} text @returns {Typed} */
export function readValue(control, text) {
  if (control.type === 'str') return { ok: true, value: text };
  const trimmed = text.trim().replace('−', '-');
  const wrong = (/** @type {string} */ got) => ({ ok: /** @type {const} */ (false), message: `${control.name} must be ${expects(control)}; ${got}.` });
  if (trimmed === '') return wrong('the field is empty');
  const shown = trimmed.length > 40 ? `${trimmed.slice(0, 40)}…` : trimmed;
  const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(trimmed) ? Number(trimmed) : NaN;
  if (!Number.isFinite(number)) return wrong(`“${shown}” is not a number`);
  if (control.type === 'int' && !Number.isSafeInteger(number)) return wrong(`${shown} is not a whole number`);
  if (control.minimum !== null && number < control.minimum) return wrong(`${shown} is below ${control.minimum}`);
  if (control.maximum !== null && number > control.maximum) return wrong(`${shown} is above ${control.maximum}`);
  return { ok: true, value: number };
}
