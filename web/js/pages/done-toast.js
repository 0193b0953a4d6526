// @ts-check
/** Says what was just done, with a button to undo it. */
import { html, useEffect, useRef } from '../../vendor/ui.js';
import { isTyping } from '../components/inputs.js';
import { shortcuts } from '../data/settings.js';
import { state } from '../data/state.js';

/** How long the toast stays open with neither pointer nor focus on it. */
const SHOWN_MS = 20_000;

function close() {
  state.done.value = null;
}

export function DoneToast() {
  const done = /** @type {Done} */ (state.done.value);
  const { text, failures, undo } = done;
  const timer = useRef(0);
  const stop = () => clearTimeout(timer.current);
  const start = () => {
    stop();
    timer.current = setTimeout(close, SHOWN_MS);
  };
  const undoAll = () => {
    if (!undo) return;
    state.done.value = { ...done, undo: null };
    undo();
  };
  useEffect(() => {
    state.announcement.value = [text, ...failures, undo ? 'Press u to undo.' : ''].join(' ');
    start();
    const keydown = (/** @type {KeyboardEvent} */ event) => {
      if (event.key === 'u' && shortcuts.value && !event.ctrlKey && !event.metaKey && !isTyping(event)) undoAll();
    };
    addEventListener('keydown', keydown);
    return () => {
      stop();
      removeEventListener('keydown', keydown);
    };
  }, [done]);
  return html`<section
    class="toast"
    aria-label="Last change"
    onMouseEnter=${stop}
    onMouseLeave=${start}
    onFocusIn=${stop}
    onFocusOut=${start}
  >
    <div>
      ${text}
      ${failures.map((message) => html`<div key=${message} class="bad">${message}</div>`)}
    </div>
    ${undo && html`<button onClick=${undoAll}>Undo</button>`}
    <button class="quiet" onClick=${close} aria-label="Close this message">×</button>
  </section>`;
}
