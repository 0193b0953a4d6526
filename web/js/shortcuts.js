// @ts-check
/** Single-key shortcuts, which are ignored in fields and when disabled. */
import { isTyping } from './components/inputs.js';

/**
 * Call the action of each key.
 * @param {() => boolean} enabled
 * @param {Record<string, () => void>} actions by `KeyboardEvent.key`
 */
export function startShortcuts(enabled, actions) {
  addEventListener('keydown', (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (!enabled() || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (isTyping(event)) {
      if (event.key === 'Escape') target.blur();
      return;
    }
    // Space presses the focused button or checkbox and is no shortcut then.
    if (event.key === ' ' && target.matches('button, a, summary, input')) return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

/**
 * Focus the next or the previous chart.
 * @param {1 | -1} by
 */
export function focusChart(by) {
  const charts = /** @type {HTMLElement[]} */ ([...document.querySelectorAll('.plot')]);
  const focused = charts.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const start = by > 0 ? 0 : charts.length - 1;
  const next = charts[focused < 0 ? start : Math.min(charts.length - 1, Math.max(0, focused + by))];
  next?.focus();
  next?.closest('.card')?.scrollIntoView({ block: 'nearest' });
}

/**
 * Press a button of the card of the focused chart.
 * @param {string} selector
 */
export function pressInChart(selector) {
  const button = document.activeElement?.closest('.card')?.querySelector(selector);
  if (button instanceof HTMLButtonElement) button.click();
}

/** Focus the search field of the page. */
export function focusSearch() {
  const field = /** @type {HTMLInputElement | null} */ (document.querySelector('[data-search]'));
  field?.focus();
  field?.select();
}
