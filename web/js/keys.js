// @ts-check
/** Single-key shortcuts of the page; off inside fields and when switched off. */

/** @typedef {Record<string, () => void>} Keys */

/** @param {() => boolean} enabled @param {Keys} keys */
export function listenForKeys(enabled, keys) {
  addEventListener('keydown', (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (!enabled() || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (target.matches('input, select, textarea, dialog *') || target.isContentEditable) {
      if (event.key === 'Escape') target.blur();
      return;
    }
    // Space presses the button that has the focus; it is no shortcut then.
    if (event.key === ' ' && target.matches('button, a, summary')) return;
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

/** Moves the focus by one chart. @param {1 | -1} by */
export function focusChart(by) {
  const all = /** @type {HTMLElement[]} */ ([...document.querySelectorAll('.plot')]);
  const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))];
  next?.focus();
  next?.closest('.card')?.scrollIntoView({ block: 'nearest' });
}

/** Puts the cursor into the search field of the screen. */
export function focusSearch() {
  const field = /** @type {HTMLInputElement | null} */ (document.querySelector('[data-search]'));
  field?.focus();
  field?.select();
}
