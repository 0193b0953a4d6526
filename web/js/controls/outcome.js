// @ts-check
/** The outcome of a command in one line, from the request on this page and the server's record of it. Pure. */
import { formatInteger } from '../format/numbers.js';
import { formatValue } from './value.js';

const SLOW_AFTER_S = 30;

/**
 * Return the steps at which the ranks applied a command, in order.
 * @param {Command} command
 */
function appliedSteps(command) {
  const steps = Object.values(command.ranks ?? {}).flatMap(({ step }) => (typeof step === 'number' ? [step] : []));
  return [...new Set(steps)].sort((a, b) => a - b);
}

/** @param {Command} command */
function appliedText(command) {
  const steps = appliedSteps(command);
  if (steps.length === 0) return 'applied';
  return steps.length === 1 ? `applied at step ${steps[0]}` : `applied at steps ${steps[0]} to ${steps.at(-1)}`;
}

/**
 * Return how far a command has come: "applied at step 1200", "refused: …".
 * @param {Command} command
 * @returns {string}
 */
export function commandText(command) {
  const reason = Object.values(command.ranks ?? {}).find((rank) => rank.message)?.message;
  const step = command.apply_at_step;
  switch (command.state) {
    case 'applied':
      return appliedText(command);
    case 'rejected':
      return `refused: ${reason ?? 'no reason given'}`;
    case 'expired':
      return `no answer: ${reason ?? 'the trainer did not answer in time'}`;
    case 'delivered':
      return step ? `received by the trainer, applies at step ${step}` : 'received by the trainer';
    default:
      return 'sent';
  }
}

/**
 * Return the status line of a control, or null when nothing was requested.
 * @param {ControlRequest | undefined} request the last request on this page
 * @param {Command | undefined} command the server's record of it
 * @param {number} now
 * @param {string} unit
 * @returns {Outcome | null}
 */
export function requestOutcome(request, command, now, unit) {
  if (!request) return null;
  if (request.phase === 'rejected') return { tone: 'bad', text: `refused: ${request.message}`, retry: false };
  if (request.phase === 'unreachable') return { tone: 'bad', text: `not sent: ${request.message}`, retry: true };
  const value = formatValue(request.value, unit);
  if (!command) return { tone: 'pending', text: `${value}: sending`, retry: false };
  const text = `${value}: ${commandText(command)}`;
  if (command.state === 'applied') return { tone: 'good', text, retry: false };
  if (command.state === 'rejected' || command.state === 'expired') return { tone: 'bad', text, retry: false };
  const waited = now - request.at;
  const note = waited > SLOW_AFTER_S ? `, no answer for ${formatInteger(waited)} s; still pending` : '';
  return { tone: 'pending', text: text + note, retry: false };
}
