// @ts-check
/** Sends control values to the run. Knows no document. */
import { RequestError } from './api.js';
import { putCommand, setRequest, state } from './state.js';

/** Return an id that makes sending a command twice harmless. Unlike `randomUUID` it works on plain HTTP too. */
function commandId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export class Commands {
  /** @param {Pick<import('./api.js').ApiClient, 'setControl' | 'now'>} api */
  constructor(api) {
    this.api = api;
  }

  /**
   * Request a value for a control of the open run. The outcome arrives as updates of the command.
   * @param {string} control
   * @param {unknown} value
   * @param {string} [reason]
   */
  async apply(control, value, reason = '') {
    await this.#send(control, { id: commandId(), value, reason });
  }

  /**
   * Send the last request for a control again, under the same id.
   * @param {string} control
   */
  async retry(control) {
    const request = state.requests.value[control];
    if (request) await this.#send(control, request);
  }

  /**
   * @param {string} control
   * @param {{id: string, value: unknown, reason: string}} request
   */
  async #send(control, { id, value, reason }) {
    const run = state.run.value;
    if (!run) return;
    /** @type {ControlRequest} */
    const request = { id, value, reason, phase: 'sending', message: '', at: this.api.now() };
    setRequest(control, request);
    try {
      const command = await this.api.setControl(run.id, control, { id, value, reason });
      // A push may have overtaken this answer with a later state of the same command.
      if (!state.commands.value.some((known) => known.id === command.id)) putCommand(command);
      setRequest(control, { ...request, id: command.id, phase: 'sent' });
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      setRequest(control, {
        ...request,
        phase: error.status === 0 ? 'unreachable' : 'rejected',
        message: error.message,
      });
    }
  }
}
