// @ts-check
/** Values of controls as text: how they are shown, what is expected, and what was entered. Pure. */
import { pluralize } from '../format/numbers.js';
import { formatRanks } from '../format/ranks.js';

const MAX_ECHOED_CHARACTERS = 40;
/** @type {Record<string, string>} */
const NOUNS = { int: 'an integer', float: 'a number', bool: 'on or off', str: 'text' };

/**
 * Format a value of a control.
 * @param {unknown} value
 * @param {string} [unit]
 */
export function formatValue(value, unit = '') {
  if (value === null || value === undefined) return 'none';
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value === 'object' && 'active' in value) {
    const ranks = /** @type {number[] | undefined} */ ('ranks' in value ? value.ranks : undefined);
    return `${pluralize(Number(value.active), 'step')}${ranks ? ` on rank ${ranks.join(', ')}` : ''}`;
  }
  if (typeof value === 'object') return JSON.stringify(value);
  return unit ? `${value} ${unit}` : String(value);
}

/**
 * Format a value of this control; what is asked of an action is its name.
 * @param {Control} control
 * @param {unknown} value
 */
export const valueText = ({ type, name, unit }, value) => (type === 'action' ? name : formatValue(value, unit));

/**
 * Return the text of a control's field for a value, which `parseValue` takes back.
 * @param {Control} control
 * @param {unknown} value
 */
export function fieldText({ type }, value) {
  if (value === null || value === undefined) return '';
  return type === 'enum' ? JSON.stringify(value) : String(value);
}

/**
 * Return which ranks have another value than they are to have: "but ranks 1 and 2 have 50 steps", or an empty string.
 * @param {Control} control
 */
export function differsText({ differs, ranks, value: lowest, desired, unit }) {
  const same = differs.every((rank) => JSON.stringify(ranks[rank]?.value) === JSON.stringify(lowest));
  if (same) return differs.length > 0 ? `not yet ${formatValue(desired, unit)}` : '';
  /** @type {Map<string, number[]>} */
  const byValue = new Map();
  for (const rank of differs) {
    const value = formatValue(ranks[rank]?.value, unit);
    byValue.set(value, [...(byValue.get(value) ?? []), rank]);
  }
  const have = (/** @type {number[]} */ named) => (named.length === 1 ? 'has' : 'have');
  return `but ${[...byValue].map(([value, named]) => `${formatRanks(named)} ${have(named)} ${value}`).join(', ')}`;
}

/** @param {Pick<Control, 'minimum' | 'maximum'>} control */
function boundsText({ minimum, maximum }) {
  if (minimum !== null && maximum !== null) return ` between ${minimum} and ${maximum}`;
  if (minimum !== null) return ` of at least ${minimum}`;
  return maximum !== null ? ` of at most ${maximum}` : '';
}

/** @param {Control} control */
const choicesText = ({ choices }) => (choices ?? []).map((choice) => formatValue(choice)).join(', ');

/**
 * Return what a control accepts, in words: "an integer of at least 1, or none".
 * @param {Control} control
 */
export function expectedText(control) {
  const isNumber = control.type === 'int' || control.type === 'float';
  const bounds = isNumber ? boundsText(control) : '';
  const noun = control.type === 'enum' ? `one of ${choicesText(control)}` : (NOUNS[control.type] ?? 'text');
  return `${noun}${bounds}${control.nullable ? ', or none' : ''}`;
}

/**
 * Parse the text of a control's field.
 * @param {Control} control
 * @param {string} text
 * @returns {ParsedValue}
 */
export function parseValue(control, text) {
  if (control.type === 'bool') return { ok: true, value: text === 'true' };
  if (control.type === 'str') return { ok: true, value: text };
  if (control.type === 'enum') return parseChoice(control, text);
  const trimmed = text.trim().replace('−', '-');
  const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(trimmed) ? Number(trimmed) : Number.NaN;
  const problem = numberProblem(control, trimmed, number);
  if (!problem) return { ok: true, value: number };
  return { ok: false, message: `${control.name} must be ${expectedText(control)}; ${problem}.` };
}

/**
 * @param {Control} control
 * @param {string} text
 * @returns {ParsedValue}
 */
function parseChoice(control, text) {
  const value = (control.choices ?? []).find((choice) => JSON.stringify(choice) === text);
  if (value !== undefined) return { ok: true, value };
  return { ok: false, message: `${control.name} must be ${expectedText(control)}; nothing is chosen.` };
}

/**
 * Return why a number is not acceptable, or an empty string.
 * @param {Control} control
 * @param {string} text
 * @param {number} number
 */
function numberProblem({ type, minimum, maximum }, text, number) {
  if (text === '') return 'the field is empty';
  const shown = text.length > MAX_ECHOED_CHARACTERS ? `${text.slice(0, MAX_ECHOED_CHARACTERS)}…` : text;
  if (!Number.isFinite(number)) return `“${shown}” is not a number`;
  if (type === 'int' && !Number.isSafeInteger(number)) return `${shown} is not an integer`;
  if (minimum !== null && number < minimum) return `${shown} is below ${minimum}`;
  return maximum !== null && number > maximum ? `${shown} is above ${maximum}` : '';
}

/**
 * Return the text of a field after an arrow key: 1 or 10 more or less for integers, 10 % for other numbers.
 * @param {Control} control
 * @param {string} text
 * @param {1 | -1} direction
 * @param {boolean} large
 * @returns {string | null} null when the text is not a number
 */
export function steppedText({ type, minimum, maximum }, text, direction, large) {
  const number = Number(text);
  if (!Number.isFinite(number)) return null;
  const isInt = type === 'int';
  const next = isInt ? number + direction * (large ? 10 : 1) : number * (direction > 0 ? 1.1 : 1 / 1.1);
  const low = minimum ?? Number.NEGATIVE_INFINITY;
  const high = maximum ?? Number.POSITIVE_INFINITY;
  const bounded = Math.min(high, Math.max(low, next));
  return String(isInt ? bounded : Number(bounded.toPrecision(4)));
}
