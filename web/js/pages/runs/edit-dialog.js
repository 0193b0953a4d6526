// @ts-check
/** The dialog that renames a run and edits its notes, and the one that tags runs. */
import { html, useEffect, useRef, useSignal } from '../../../vendor/ui.js';
import { onValue } from '../../components/inputs.js';
import { state } from '../../data/state.js';
import { pluralize } from '../../format/numbers.js';

const MAX_NAME_CHARACTERS = 256;
const MAX_TAG_CHARACTERS = 128;
const MAX_NOTES_CHARACTERS = 8192;
const MAX_SUGGESTED_TAGS = 200;

/** @typedef {{name: string, notes: string | undefined, before: string | undefined}} About `before`: the notes so far */

/**
 * Name and notes of a run.
 * @param {{app: App, run: Run, about: Signal<About>}} props
 */
function AboutFields({ app, run, about }) {
  // Lists have no notes.
  useEffect(() => {
    const take = (/** @type {Run} */ whole) => {
      about.value = { ...about.value, notes: whole.notes, before: whole.notes };
    };
    app.api.run(run.id).then(take, () => {});
  }, [run.id]);
  const setName = onValue((text) => {
    about.value = { ...about.value, name: text };
  });
  const setNotes = onValue((text) => {
    about.value = { ...about.value, notes: text };
  });
  const { name, notes } = about.value;
  return html`<label class="field">
      Name <input value=${name} onInput=${setName} required maxlength=${MAX_NAME_CHARACTERS} />
    </label>
    <label class="field">
      Notes
      <textarea
        rows="6"
        value=${notes ?? ''}
        disabled=${notes === undefined}
        onInput=${setNotes}
        maxlength=${MAX_NOTES_CHARACTERS}
      />
    </label>`;
}

/**
 * The tags that runs have, of which each can be removed, and a field for another one.
 * @param {{tags: Signal<string[]>}} props
 */
function TagFields({ tags }) {
  const text = useSignal('');
  const suggested = [...new Set([...state.runs.value.values()].flatMap((run) => run.tags))].slice(
    0,
    MAX_SUGGESTED_TAGS,
  );
  const add = () => {
    const tag = text.value.trim();
    if (tag) tags.value = [...new Set([...tags.value, tag])];
    text.value = '';
  };
  const keydown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'Enter' || !text.value.trim()) return;
    event.preventDefault();
    add();
  };
  const remove = (/** @type {string} */ tag) => () => {
    tags.value = tags.value.filter((other) => other !== tag);
  };
  return html`<ul class="tags" aria-label="Tags">
      ${tags.value.map(
        (tag) => html`<li key=${tag} class="tag">
          <span class="name">${tag}</span>
          <button type="button" class="quiet" aria-label=${`Remove the tag ${tag}`} onClick=${remove(tag)}>×</button>
        </li>`,
      )}
    </ul>
    <label class="field">
      Add a tag
      <input
        list="known-tags"
        value=${text}
        maxlength=${MAX_TAG_CHARACTERS}
        onInput=${onValue((value) => (text.value = value))}
        onKeyDown=${keydown}
        onBlur=${add}
      />
    </label>
    <datalist id="known-tags">${suggested.map((tag) => html`<option key=${tag} value=${tag} />`)}</datalist>`;
}

/**
 * @typedef {object} EditDialogProps
 * @property {App} app
 * @property {readonly Run[]} runs
 * @property {'Rename' | 'Tag'} what
 * @property {import('../../data/run-actions.js').RunActions} actions
 * @property {() => void} close
 */

/** @param {EditDialogProps} props */
export function EditDialog({ app, runs, what, actions, close }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const [run] = runs;
  const about = useSignal(/** @type {About} */ ({ name: run.name || run.id, notes: undefined, before: undefined }));
  const before = useRef([...new Set(runs.flatMap((one) => one.tags))]).current;
  const tags = useSignal(before);
  useEffect(() => dialog.current?.showModal(), []);
  const rename = () => {
    const { name, notes, before: known } = about.value;
    // With the notes that an undo brings back.
    const whole = { ...run, notes: known ?? run.notes };
    return actions.change([whole], 'Changed', () => ({ name, ...(notes === undefined ? {} : { notes }) }));
  };
  const tag = () => {
    const removed = new Set(before.filter((one) => !tags.value.includes(one)));
    const added = tags.value.filter((one) => !before.includes(one));
    return actions.change(runs, 'Tagged', (one) => ({
      tags: [...new Set([...one.tags.filter((own) => !removed.has(own)), ...added])],
    }));
  };
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (what === 'Rename') rename();
    else tag();
    dialog.current?.close();
  };
  return html`<dialog ref=${dialog} class="confirm" aria-labelledby="edit-title" onClose=${close}>
    <form onSubmit=${submit}>
      <h2 id="edit-title">${what} ${runs.length === 1 ? run.name || run.id : pluralize(runs.length, 'run')}</h2>
      ${
        what === 'Rename'
          ? html`<${AboutFields} app=${app} run=${run} about=${about} />`
          : html`<${TagFields} tags=${tags} />`
      }
      <div class="line">
        <button type="button" onClick=${() => dialog.current?.close()}>Cancel</button>
        <button class="primary">Save</button>
      </div>
    </form>
  </dialog>`;
}
