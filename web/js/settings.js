// @ts-check
/** What this browser remembers beyond the address: the theme, and whether single keys are shortcuts. The only user of localStorage. */
import { effect, signal } from '../vendor/ui.js';

/** @typedef {'system' | 'light' | 'dark'} Theme */

/** @param {string} name */
function read(name) {
  try {
    return localStorage.getItem(`recis.${name}`);
  } catch {
    return null; // storage is switched off: settings last as long as the tab
  }
}

/** @param {string} name @param {string} value */
function write(name, value) {
  try {
    localStorage.setItem(`recis.${name}`, value);
  } catch {
    // as above
  }
}

const saved = read('theme');

/** @type {Signal<Theme>} */
export const theme = signal(saved === 'light' || saved === 'dark' ? saved : 'system');
export const shortcuts = signal(read('shortcuts') !== 'off');

const systemDark = matchMedia('(prefers-color-scheme: dark)');

/** Puts the theme on the document and calls back after every change of colours. @param {() => void} changed */
export function applySettings(changed) {
  effect(() => {
    document.documentElement.dataset.theme = theme.value;
    write('theme', theme.value);
    changed();
  });
  effect(() => write('shortcuts', shortcuts.value ? 'on' : 'off'));
  systemDark.addEventListener('change', changed);
}

/** The next theme: system, then the other of what the system has, then that. */
export function nextTheme() {
  const other = systemDark.matches ? 'light' : 'dark';
  const own = systemDark.matches ? 'dark' : 'light';
  theme.value = theme.value === 'system' ? other : theme.value === other ? own : 'system';
}
