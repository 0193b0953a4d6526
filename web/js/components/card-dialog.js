// @ts-check
/** A dialog that belongs to a chart card. */
import { html, useEffect, useRef } from '../../vendor/ui.js';

/** @param {{title: string, close: () => void, children?: any}} props */
export function CardDialog({ title, close, children }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => dialog.current?.showModal(), []);
  return html`<dialog ref=${dialog} class="card-dialog" aria-label=${title} onClose=${close}>
    <h2>${title}</h2>
    ${children}
  </dialog>`;
}
