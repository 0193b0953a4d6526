// @ts-check
/** Settings of this browser: theme and keyboard shortcuts. The only module that uses localStorage. */
import { effect, signal } from '../../vendor/ui.js';

/** @typedef {'system' | 'light' | 'dark'} Theme */

/** @param {string} name */
function load(name) {
  try {
    return localStorage.getItem(`recis.${name}`);
  } catch {
    return null; // storage is disabled: settings last as long as the tab
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
function save(name, value) {
  try {
    localStorage.setItem(`recis.${name}`, value);
  } catch {
    // as in `load`
  }
}

const savedTheme = load('theme');

/** @type {Signal<Theme>} */
export const theme = signal(savedTheme === 'light' || savedTheme === 'dark' ? savedTheme : 'system');
/** Whether single keys are shortcuts. */
export const shortcuts = signal(load('shortcuts') !== 'off');

const systemDark = matchMedia('(prefers-color-scheme: dark)');

/**
 * Apply the theme to the document and save settings when they change.
 * @param {() => void} colorsChanged called after every change of colors
 */
export function applySettings(colorsChanged) {
  effect(() => {
    document.documentElement.dataset.theme = theme.value;
    save('theme', theme.value);
    colorsChanged();
  });
  effect(() => save('shortcuts', shortcuts.value ? 'on' : 'off'));
  systemDark.addEventListener('change', colorsChanged);
}

/** Switch to the next theme: the opposite of the system's, then the system's own, then "system". */
export function nextTheme() {
  const opposite = systemDark.matches ? 'light' : 'dark';
  const same = systemDark.matches ? 'dark' : 'light';
  theme.value = theme.value === 'system' ? opposite : theme.value === opposite ? same : 'system';
}
