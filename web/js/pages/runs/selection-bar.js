// @ts-check
/** What can be done with the selected runs. */
import { html, useEffect, useSignal } from '../../../vendor/ui.js';
import { isTyping } from '../../components/inputs.js';
import { RunActions } from '../../data/run-actions.js';
import { clearPicks } from '../../data/run-selection.js';
import { shortcuts } from '../../data/settings.js';
import { state } from '../../data/state.js';
import { formatInteger } from '../../format/numbers.js';
import { routeHref } from '../../routing/links.js';
import { openPage } from '../../routing/navigation.js';
import { MAX_ITEMS } from '../../routing/view.js';
import { EditDialog } from './edit-dialog.js';

/**
 * Call the action of a key, unless it is typed into a field or shortcuts are off.
 * @param {Record<string, () => void>} actions by `KeyboardEvent.key`
 */
function useKeys(actions) {
  useEffect(() => {
    const keydown = (/** @type {KeyboardEvent} */ event) => {
      if (!shortcuts.value || event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
      const action = actions[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    };
    addEventListener('keydown', keydown);
    return () => removeEventListener('keydown', keydown);
  });
}

/** @param {{app: App, runs: readonly Run[]}} props the selected runs */
export function SelectionBar({ app, runs }) {
  const edited = useSignal(/** @type {'' | 'Rename' | 'Tag'} */ (''));
  const { picked } = state.view.value;
  const actions = new RunActions(app.api, app.session.runList);
  const archived = runs.length > 0 && runs.every((run) => run.archived);
  const done = () => {
    clearPicks();
    // What had the focus is gone.
    document.getElementById('main')?.focus({ preventScroll: true });
  };
  const archive = async () => {
    const text = archived ? 'Took out of the archive' : 'Archived';
    await actions.change(runs, text, () => ({ archived: !archived }));
    done();
  };
  const remove = async () => {
    await actions.remove(runs);
    done();
  };
  const edit = (/** @type {'Rename' | 'Tag'} */ what) => () => {
    edited.value = what;
  };
  const compare = routeHref({ page: 'compare', runs: picked });
  const canCompare = picked.length > 1;
  const canChange = state.canControl.value && runs.length > 0;
  useKeys({
    Escape: clearPicks,
    ...(canCompare ? { c: () => openPage(compare) } : {}),
    ...(canChange ? { a: archive, Delete: remove, g: edit('Tag') } : {}),
    ...(canChange && runs.length === 1 ? { e: edit('Rename') } : {}),
  });
  const most = picked.length === MAX_ITEMS && ', the most at a time';
  return html`<div class="selection" role="group" aria-label="Selected runs">
      <span role="status"><b>${formatInteger(picked.length)}</b> selected${most}</span>
      ${canCompare && html`<a class="button primary" href=${compare}>Compare ${picked.length}</a>`}
      ${
        canChange &&
        html`${runs.length === 1 && html`<button onClick=${edit('Rename')}>Rename</button>`}
          <button onClick=${edit('Tag')}>Tag</button>
          <button onClick=${archive}>${archived ? 'Unarchive' : 'Archive'}</button>
          <button onClick=${remove}>Delete</button>`
      }
      <button class="quiet" onClick=${clearPicks}>Clear selection</button>
    </div>
    ${
      edited.value &&
      html`<${EditDialog}
        app=${app}
        runs=${runs}
        what=${edited.value}
        actions=${actions}
        close=${() => (edited.value = '')}
      />`
    }`;
}
