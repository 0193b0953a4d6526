// @ts-check
/** Sends control values to the run, and asks what they would change or have changed. Knows no document. */
import { RequestError } from './api.js';
import { putCommand, setRequest, state } from './state.js';

/** Return an id that makes sending a command twice harmless. Unlike `randomUUID` it works on plain HTTP too. */
function commandId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

const openRun = () => state.run.peek()?.id ?? '';

export class Commands {
  /** @param {Pick<import('./api.js').ApiClient, 'setControl' | 'revert' | 'effect' | 'forecast' | 'now'>} api */
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
    await this.#put(control, { id: commandId(), value, reason });
  }

  /**
   * Request the values that were there before a command.
   * @param {Command} command
   */
  async revert(command) {
    const request = { id: '', value: undefined, reason: '', reverts: command };
    await this.#send(Object.keys(command.values), request, (run) => this.api.revert(run, command.id));
  }

  /**
   * Send the last request for a control again: a value under the same id.
   * @param {string} control
   */
  async retry(control) {
    const request = state.requests.value[control];
    if (request?.reverts) await this.revert(request.reverts);
    else if (request) await this.#put(control, request);
  }

  /**
   * Return what a command of the open run has changed.
   * @param {string} command
   */
  effect(command) {
    return this.api.effect(openRun(), command);
  }

  /**
   * Return the forecast for a filter interval in the open run.
   * @param {number} interval
   */
  forecast(interval) {
    return this.api.forecast(openRun(), interval);
  }

  /**
   * @param {string} control
   * @param {{id: string, value: unknown, reason: string}} request
   */
  async #put(control, { id, value, reason }) {
    const body = { id, value, reason };
    await this.#send([control], body, (run) => this.api.setControl(run, control, body));
  }

  /**
   * @param {string[]} controls
   * @param {Pick<ControlRequest, 'id' | 'value' | 'reason' | 'reverts'>} request
   * @param {(run: string) => Promise<Command>} ask
   */
  async #send(controls, request, ask) {
    const run = state.run.value;
    if (!run) return;
    const at = this.api.now();
    const put = (/** @type {Partial<ControlRequest>} */ change, /** @type {Command | null} */ command = null) => {
      for (const control of controls) {
        const value = command ? command.values[control] : request.value;
        setRequest(control, { phase: 'sending', message: '', at, ...request, value, ...change });
      }
    };
    put({});
    try {
      const command = await ask(run.id);
      // A push may have overtaken this answer with a later state of the same command.
      if (!state.commands.value.some((known) => known.id === command.id)) putCommand(command);
      put({ id: command.id, phase: 'sent' }, command);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      put({ phase: error.status === 0 ? 'unreachable' : 'rejected', message: error.message });
    }
  }
}
