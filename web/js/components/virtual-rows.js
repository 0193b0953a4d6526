// @ts-check
/** The rows of a long table: only rows on screen exist, and an empty row stands for those above and below. */
import { html, useEffect, useRef, useState } from '../../vendor/ui.js';

/** Rows are added and removed in steps of this many. */
const STEP = 8;
const DEFAULT_HEIGHT_PX = 41;

/** @typedef {{from: number, to: number, height: number}} RowWindow rows in the document, and the height of one */

/**
 * Return the rows that are on screen, with a margin.
 * @param {HTMLElement} body
 * @param {number} count
 * @returns {RowWindow}
 */
function visibleRows(body, count) {
  const row = /** @type {HTMLElement | null} */ (body.querySelector('tr:not(.gap)'));
  const height = row?.offsetHeight || DEFAULT_HEIGHT_PX;
  const first = Math.min(count, -body.getBoundingClientRect().top / height);
  const from = Math.max(0, Math.floor(first / STEP - 1) * STEP);
  return { from, to: from + Math.ceil(innerHeight / height / STEP + 3) * STEP, height };
}

/**
 * Follow scrolling and resizing of the window.
 * @param {{current: HTMLElement | null}} body
 * @param {number} count
 * @returns {RowWindow}
 */
function useVisibleRows(body, count) {
  const [rows, setRows] = useState({ from: 0, to: 4 * STEP, height: DEFAULT_HEIGHT_PX });
  useEffect(() => {
    let frame = 0;
    const update = () => {
      frame = 0;
      const next = visibleRows(/** @type {HTMLElement} */ (body.current), count);
      setRows((now) => (now.from === next.from && now.to === next.to && now.height === next.height ? now : next));
    };
    const schedule = () => {
      frame ||= requestAnimationFrame(update);
    };
    update();
    addEventListener('scroll', schedule, { passive: true });
    addEventListener('resize', schedule);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener('scroll', schedule);
      removeEventListener('resize', schedule);
    };
  }, [count]);
  return rows;
}

/** @param {{rows: number, height: number}} props */
function Gap({ rows, height }) {
  if (rows <= 0) return null;
  return html`<tr class="gap" aria-hidden="true"><td colspan="99" style=${{ height: `${rows * height}px` }} /></tr>`;
}

/**
 * A table body.
 * @template T
 * @param {{items: readonly T[], row: (item: T, index: number) => any}} props
 */
export function VirtualRows({ items, row }) {
  const body = useRef(/** @type {HTMLElement | null} */ (null));
  const { from, to, height } = useVisibleRows(body, items.length);
  const last = Math.min(to, items.length);
  return html`<tbody ref=${body}>
    <${Gap} rows=${Math.min(from, items.length)} height=${height} />
    ${items.slice(from, to).map((item, i) => row(item, from + i))}
    <${Gap} rows=${items.length - last} height=${height} />
  </tbody>`;
}
