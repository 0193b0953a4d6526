// @ts-check
/** The list of keyboard shortcuts. */
import { html, useEffect, useRef } from '../../vendor/ui.js';
import { shortcuts } from '../data/settings.js';

/** @type {readonly [keys: string[], action: string][]} */
const KEYS = [
  [['/'], 'Search'],
  [['j', 'k'], 'Next or previous chart'],
  [['←', '→'], 'Move the crosshair of the focused chart'],
  [['+', '−'], 'Zoom in or out'],
  [['Shift ←', 'Shift →'], 'Show what is before or after'],
  [['Shift ↑', 'Shift ↓'], 'Zoom the vertical axis in or out'],
  [['0'], 'Reset the zoom (or double-click a chart)'],
  [['Space'], 'Pause or resume the charts'],
  [['l'], 'Logarithmic vertical axis'],
  [['r'], 'Leave outliers out of the vertical axis'],
  [['p'], 'Pin the focused chart'],
  [['d'], 'Smaller or larger charts'],
  [['t'], 'Change the theme'],
  [['j', 'k', '↑', '↓'], 'Next or previous run in the list; with Shift also select'],
  [['x', 'X'], 'Select the focused run; all runs up to it'],
  [['c', 'e', 'g', 'a', 'Delete'], 'Compare, rename, tag, archive or delete the selected runs'],
  [['u'], 'Undo the last change of runs'],
  [['?'], 'Show this list'],
];

/** @param {{open: Signal<boolean>}} props */
export function HelpDialog({ open }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => dialog.current?.showModal(), []);
  const closed = () => {
    open.value = false;
  };
  const toggle = () => {
    shortcuts.value = !shortcuts.value;
  };
  return html`<dialog ref=${dialog} class="help" aria-labelledby="help-title" onClose=${closed}>
    <h2 id="help-title">Keyboard shortcuts</h2>
    <dl>
      ${KEYS.map(
        ([keys, action]) => html`<div key=${action}>
          <dt>${keys.map((key) => html`<kbd key=${key}>${key}</kbd>`)}</dt>
          <dd>${action}</dd>
        </div>`,
      )}
    </dl>
    <p class="muted">
      Drag across a chart to zoom all charts, or up and down to zoom its vertical axis. Drag with Shift, or drag the
      horizontal axis, to move what they show. Hold Ctrl and scroll to zoom around the pointer. On a touch screen, move
      one finger for the crosshair and two fingers to zoom.
    </p>
    <label class="check">
      <input type="checkbox" checked=${shortcuts} onChange=${toggle} /> Enable single-key shortcuts
    </label>
    <form method="dialog"><button class="primary">Close</button></form>
  </dialog>`;
}
