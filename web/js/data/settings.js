// @ts-check
/**
 * Settings of this browser: theme, density, pins, shortcuts, styles of compared runs. The only module that uses
 * localStorage.
 */
import { effect, signal } from '../../vendor/ui.js';

/** @typedef {'system' | 'light' | 'dark'} Theme */

/** @param {string} name */
function load(name) {
  try {
    return localStorage.getItem(`recis.${name}`);
  } catch {
    // Storage is disabled: settings last as long as the tab.
    return null;
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
/** Whether charts are small, so that more of them are on screen. */
export const compact = signal(load('density') === 'compact');
/** Whether single keys act as shortcuts. */
export const shortcuts = signal(load('shortcuts') !== 'off');

const MAX_RUN_STYLES = 500;

/** Return the style numbers of the runs that were compared in this browser. */
export function loadRunStyles() {
  /** @type {[string, number][]} */
  const pairs = [];
  for (const part of (load('run-styles') ?? '').split(' ')) {
    const [id, number] = part.split('=');
    if (id && /^\d+$/.test(number ?? '')) pairs.push([decodeURIComponent(id), Number(number)]);
  }
  return new Map(pairs);
}

/** @param {ReadonlyMap<string, number>} styles */
export function saveRunStyles(styles) {
  const newest = [...styles].slice(-MAX_RUN_STYLES);
  save('run-styles', newest.map(([id, number]) => `${encodeURIComponent(id)}=${number}`).join(' '));
}

const MAX_PROJECTS = 100;

/** @returns {[project: string, pins: string[][]][]} the oldest first */
function allPins() {
  try {
    const saved = JSON.parse(load('pins') ?? '[]');
    return Array.isArray(saved) ? saved.filter((entry) => Array.isArray(entry?.[1]?.[0])) : [];
  } catch {
    // Not written by this version.
    return [];
  }
}

/**
 * Return the charts that were pinned in a project in this browser.
 * @param {string} project
 */
export const loadPins = (project) => allPins().find(([name]) => name === project)?.[1] ?? [];

/**
 * @param {string} project
 * @param {string[][]} pins
 */
export function savePins(project, pins) {
  const others = allPins().filter(([name]) => name !== project);
  save('pins', JSON.stringify([...others, ...(pins.length ? [[project, pins]] : [])].slice(-MAX_PROJECTS)));
}

const systemDark = matchMedia('(prefers-color-scheme: dark)');

/**
 * Apply the theme to the document, and save settings when they change.
 * @param {() => void} colorsChanged called after every change of colors
 */
export function applySettings(colorsChanged) {
  effect(() => {
    document.documentElement.dataset.theme = theme.value;
    save('theme', theme.value);
    colorsChanged();
  });
  effect(() => save('density', compact.value ? 'compact' : 'comfortable'));
  effect(() => save('shortcuts', shortcuts.value ? 'on' : 'off'));
  systemDark.addEventListener('change', colorsChanged);
}

/** Switch to the next theme: the opposite of the system's, then the system's own, then "system". */
export function nextTheme() {
  const opposite = systemDark.matches ? 'light' : 'dark';
  const same = systemDark.matches ? 'dark' : 'light';
  theme.value = theme.value === 'system' ? opposite : theme.value === opposite ? same : 'system';
}
