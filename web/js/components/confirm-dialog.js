// @ts-check
/** Asks for confirmation and a reason before a command is sent. */
import { html, useEffect, useRef, useSignal } from '../../vendor/ui.js';
import { onValue } from './inputs.js';

/**
 * @typedef {object} ConfirmDialogProps
 * @property {string} title
 * @property {string} text what users should know
 * @property {string} action label of the button that goes on
 * @property {string} reason what has been entered so far
 * @property {(reason: string) => void} confirm
 * @property {() => void} close
 */

/** @param {ConfirmDialogProps} props */
export function ConfirmDialog({ title, text, action, reason: entered, confirm, close }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const reason = useSignal(entered);
  useEffect(() => dialog.current?.showModal(), []);
  const setReason = onValue((value) => {
    reason.value = value;
  });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    confirm(reason.value.trim());
    dialog.current?.close();
  };
  return html`<dialog ref=${dialog} class="confirm" aria-labelledby="confirm-title" onClose=${close}>
    <form onSubmit=${submit}>
      <h2 id="confirm-title" class="name">${title}</h2>
      <p>${text}</p>
      <label class="field">Reason (optional) <input value=${reason} onInput=${setReason} maxlength="1000" /></label>
      <div class="line">
        <button type="button" onClick=${() => dialog.current?.close()}>Cancel</button>
        <button class="primary">${action}</button>
      </div>
    </form>
  </dialog>`;
}
