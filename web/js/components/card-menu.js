// @ts-check
/** The menu of a chart card: other series, full screen, and the values as a table, image or file. */
import { html, useEffect, useRef, useSignal } from '../../vendor/ui.js';
import { chartImage } from '../charts/image.js';
import { csvText, valueTable } from '../charts/values.js';
import { SeriesDialog } from './series-dialog.js';
import { ValuesDialog } from './values-dialog.js';

/** @import { ChartController } from './chart-controller.js' */

const MAX_NAME_CHARACTERS = 80;

/**
 * @typedef {object} CardMenuProps
 * @property {ChartSpec} chart
 * @property {readonly string[]} choices names of all series of the page
 * @property {() => ChartController} controller
 * @property {() => void} close
 */

/**
 * Save a file from the page.
 * @param {Blob} blob
 * @param {string} name
 * @param {string} extension
 */
function save(blob, name, extension) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = `${name.replace(/[^\p{L}\p{N}.-]+/gu, '-').slice(0, MAX_NAME_CHARACTERS)}.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * Save a chart as an image, with a legend where it has several lines.
 * @param {ChartController} controller
 */
function saveImage({ host, chart, props }) {
  const plot = host.querySelector('canvas');
  if (!plot) return;
  const lines = chart.picture.lines.filter((line) => !line.superseded);
  const { color: text } = getComputedStyle(host);
  const background = getComputedStyle(/** @type {Element} */ (host.closest('.card'))).backgroundColor;
  const entries = lines.map((line) => ({ name: line.label, style: line }));
  const style = { width: host.clientWidth, colors: { background, text } };
  const image = chartImage(plot, props.label, entries.length > 1 ? entries : [], style);
  image.toBlob((blob) => blob && save(blob, props.label, 'png'));
}

/** @param {ChartController} controller */
function saveValues({ chart, props }) {
  save(new Blob([csvText(valueTable(chart.picture))], { type: 'text/csv' }), props.label, 'csv');
}

/**
 * Close the menu when something else is clicked or focused, or with Escape.
 * @param {{current: HTMLElement | null}} menu
 * @param {() => void} close
 */
function useDismissal(menu, close) {
  useEffect(() => {
    const outside = (/** @type {Event} */ { target }) => {
      if (target instanceof Node && !menu.current?.parentElement?.contains(target)) close();
    };
    const onKey = (/** @type {KeyboardEvent} */ event) => {
      if (event.key === 'Escape') close();
    };
    menu.current?.querySelector('button')?.focus();
    addEventListener('pointerdown', outside);
    addEventListener('focusin', outside);
    addEventListener('keydown', onKey);
    return () => {
      removeEventListener('pointerdown', outside);
      removeEventListener('focusin', outside);
      removeEventListener('keydown', onKey);
    };
  }, []);
}

/** @param {{items: readonly [string, () => void][], close: () => void}} props */
function Menu({ items, close }) {
  const menu = useRef(/** @type {HTMLElement | null} */ (null));
  useDismissal(menu, close);
  return html`<div class="menu" ref=${menu}>
    ${items.map(([label, act]) => html`<button key=${label} class="quiet" onClick=${act}>${label}</button>`)}
  </div>`;
}

/** @param {CardMenuProps} props */
export function CardMenu({ chart, choices, controller, close }) {
  const dialog = useSignal('');
  const show = (/** @type {string} */ name) => () => {
    dialog.value = name;
  };
  const closeAfter = (/** @type {(controller: ChartController) => void} */ act) => () => {
    act(controller());
    close();
  };
  /** @type {readonly [string, () => void][]} */
  const items = [
    ['Add series…', show('series')],
    ['Full screen', closeAfter(({ host }) => host.closest('.card')?.requestFullscreen())],
    ['Values as a table…', show('values')],
    ['Download PNG', closeAfter(saveImage)],
    ['Download CSV', closeAfter(saveValues)],
  ];
  if (dialog.value === 'series') return html`<${SeriesDialog} chart=${chart} choices=${choices} close=${close} />`;
  if (dialog.value === 'values') {
    return html`<${ValuesDialog} title=${chart.label} picture=${controller().chart.picture} close=${close} />`;
  }
  return html`<${Menu} items=${chart.kind === 'stack' ? items.slice(1) : items} close=${close} />`;
}
