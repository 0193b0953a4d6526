// @ts-check
/** The outcome of a command in one line, from the request on this page and the server's record of it. Pure. */
import { formatInteger } from '../format/numbers.js';
import { formatRanks } from '../format/ranks.js';
import { formatValue, valueText } from './value.js';

const SLOW_AFTER_S = 30;

/**
 * Return the steps at which the ranks applied a command, in order.
 * @param {Command} command
 */
function appliedSteps(command) {
  const steps = Object.values(command.ranks).flatMap(({ step }) => (typeof step === 'number' ? [step] : []));
  return [...new Set(steps)].sort((a, b) => a - b);
}

/** @param {Command} command */
function appliedText(command) {
  const steps = appliedSteps(command);
  const late = Object.entries(command.ranks).flatMap(([rank, held]) => (held.late ? [rank] : []));
  const note = late.length ? `, late on ${formatRanks(late)}` : '';
  if (steps.length === 0) return `applied${note}`;
  const at = steps.length === 1 ? `step ${steps[0]}` : `steps ${steps[0]} to ${steps.at(-1)}`;
  return `applied at ${at}${note}`;
}

/**
 * Return whom an open command waits for, or who gets it later.
 * @param {Command} command
 */
function waitingText({ waiting_for: waiting, away }) {
  const now = waiting.length ? `, waiting for ${formatRanks(waiting)}` : '';
  const they = away.length === 1 ? 'is away and gets it when it is back' : 'are away and get it when they are back';
  return away.length ? `${now}; ${formatRanks(away)} ${they}` : now;
}

/**
 * Return what took the place of a command.
 * @param {Command} command
 * @param {readonly Command[]} commands
 */
function supersededText(command, commands) {
  const newer = commands.find((other) => other.id === command.superseded_by);
  if (!newer) return `replaced by a newer change${command.superseded_by ? ` (${command.superseded_by})` : ''}`;
  const value = newer.values[command.control ?? ''];
  const by = newer.requested_by ? ` from ${newer.requested_by}` : '';
  return `replaced by a newer change${by}${value === undefined ? '' : `, to ${formatValue(value)}`}`;
}

/** @param {Command} command */
function deliveredText(command) {
  const done = Object.entries(command.ranks).flatMap(([rank, held]) => (held.state === 'applied' ? [rank] : []));
  if (done.length > 0) return `${appliedText(command)} on ${formatRanks(done)}`;
  return `received by the trainer${command.apply_at_step === null ? '' : `, applies at step ${command.apply_at_step}`}`;
}

/**
 * Return how far a command has come: "applied at step 1200", "refused: …".
 * @param {Command} command
 * @param {readonly Command[]} [commands] the run's, of which one may have taken its place
 * @returns {string}
 */
export function commandText(command, commands = []) {
  const reason = Object.values(command.ranks).find((rank) => rank.message)?.message;
  switch (command.state) {
    case 'applied':
      return appliedText(command) + waitingText(command);
    case 'rejected':
      return `refused: ${reason ?? 'no reason given'}`;
    case 'expired':
      return `no answer: ${reason ?? 'the trainer did not answer in time'}`;
    case 'superseded':
      return supersededText(command, commands);
    case 'delivered':
      return deliveredText(command) + waitingText(command);
    default:
      return `sent${waitingText(command)}`;
  }
}

/**
 * Return how a command ended on one rank.
 * @param {RankOutcome} outcome
 */
export function rankText({ state, step, late, message }) {
  const at = typeof step === 'number' ? ` at step ${step}` : '';
  const texts = { pending: 'not received yet', delivered: 'received', superseded: 'replaced', rejected: 'refused' };
  const text = texts[/** @type {keyof typeof texts} */ (state)] ?? state;
  return `${text}${state === 'applied' ? at : ''}${late ? ', late' : ''}${message ? `: ${message}` : ''}`;
}

/**
 * Return the status line of a control, or null when nothing was requested.
 * @param {ControlRequest | undefined} request the last request on this page
 * @param {Command | undefined} command the server's record of it
 * @param {number} now
 * @param {Control} control
 * @param {readonly Command[]} [commands] the run's
 * @returns {Outcome | null}
 */
export function requestOutcome(request, command, now, control, commands) {
  if (!request) return null;
  if (request.phase === 'rejected') return { tone: 'bad', text: `refused: ${request.message}`, retry: false };
  if (request.phase === 'unreachable') return { tone: 'bad', text: `not sent: ${request.message}`, retry: true };
  const value = request.value === undefined ? 'revert' : valueText(control, request.value);
  if (!command) return { tone: 'pending', text: `${value}: sending`, retry: false };
  const text = `${value}: ${commandText(command, commands)}`;
  if (command.state === 'applied') return { tone: 'good', text, retry: false };
  if (command.state === 'superseded') return { tone: 'muted', text, retry: false };
  if (command.state === 'rejected' || command.state === 'expired') return { tone: 'bad', text, retry: false };
  const waited = now - request.at;
  const note = waited > SLOW_AFTER_S ? `, no answer for ${formatInteger(waited)} s; still pending` : '';
  return { tone: 'pending', text: text + note, retry: false };
}
