// @ts-check
/** Name, tags and notes of a run, and the dialogs that change them. */
import { html, useSignal } from '../../../vendor/ui.js';
import { RunActions } from '../../data/run-actions.js';
import { state } from '../../data/state.js';
import { EditDialog } from '../runs/edit-dialog.js';

/** @param {{app: App, run: Run}} props */
export function RunNotes({ app, run }) {
  const edited = useSignal(/** @type {'' | 'Rename' | 'Tag'} */ (''));
  const open = (/** @type {'Rename' | 'Tag'} */ what) => () => {
    edited.value = what;
  };
  const actions = new RunActions(app.api, app.session.runList);
  return html`<section class="notes" aria-label="Notes">
    <p class="text">${run.notes || html`<span class="muted">No notes</span>`}</p>
    ${
      state.canControl.value &&
      html`<button onClick=${open('Rename')}>Rename, edit notes</button>
        <button onClick=${open('Tag')}>Tag</button>`
    }
    ${
      edited.value &&
      html`<${EditDialog}
        app=${app}
        runs=${[run]}
        what=${edited.value}
        actions=${actions}
        close=${() => (edited.value = '')}
      />`
    }
  </section>`;
}
