// @ts-check
/** What became of a command, in one line: the state of the ledger and of the request put together. Pure. */
import { setting, whole } from './format.js';

const ANSWER_WITHIN_S = 30;

/** Steps at which the ranks took a command. @param {Command} command */
function steps(command) {
  const all = Object.values(command.ranks ?? {}).map((r) => r.step).filter((step) => typeof step === 'number');
  return [...new Set(all)].sort((a, b) => a - b);
}

/** "applied at step 1 200", "refused: …" for one command of the ledger. @param {Command} command @returns {string} */
export function ledgerText(command) {
  const said = Object.values(command.ranks ?? {}).map((r) => r.message).find(Boolean) ?? '';
  switch (command.state) {
    case 'applied': {
      const at = steps(command);
      if (at.length === 0) return 'applied';
      return at.length === 1 ? `applied at step ${at[0]}` : `applied at steps ${at[0]} to ${at[at.length - 1]}`;
    }
    case 'rejected': return `refused: ${said || 'the training gave no reason'}`;
    case 'expired': return `no answer: ${said || 'the training did not answer in time'}`;
    case 'delivered': return command.apply_at_step ? `seen by trainer, applies at step ${command.apply_at_step}` : 'seen by trainer';
    default: return 'sent';
  }
}

/**
 * The line beside a control. @param {Attempt | undefined} attempt what was asked for on this page
 * @param {Command | undefined} command the same in the ledger @param {number} now @param {string} unit @returns {Outcome | null}
 */
export function outcome(attempt, command, now, unit) {
  if (!attempt) return null;
  const value = setting(attempt.value, unit);
  if (attempt.phase === 'refused') return { tone: 'bad', text: `refused: ${attempt.message}`, retry: false };
  if (attempt.phase === 'unsent') return { tone: 'bad', text: `not sent: ${attempt.message}`, retry: true };
  if (!command) return { tone: 'wait', text: `${value}: sending`, retry: false };
  const text = `${value}: ${ledgerText(command)}`;
  if (command.state === 'applied') return { tone: 'good', text, retry: false };
  if (command.state === 'rejected' || command.state === 'expired') return { tone: 'bad', text, retry: false };
  const late = now - attempt.at > ANSWER_WITHIN_S;
  return { tone: 'wait', text: late ? `${text}, no answer for ${whole(now - attempt.at)} s; it stays asked for` : text, retry: false };
}
