// @ts-check
/** The rows of a long table: only those on screen are made, an empty one stands for the others. Must not know what rows show. */
import { html, useEffect, useRef, useState } from '../../vendor/ui.js';

const STEP = 8;

/** @template T @param {{items: readonly T[], row: (item: T, place: number) => any}} props */
export function Rows({ items, row }) {
  const body = useRef(/** @type {HTMLElement | null} */ (null));
  const [{ from, to, height }, look] = useState({ from: 0, to: 4 * STEP, height: 41 });
  useEffect(() => {
    let frame = 0;
    const see = () => {
      frame = 0;
      const own = /** @type {HTMLElement} */ (body.current);
      const height = /** @type {HTMLElement | null} */ (own.querySelector('tr:not(.gap)'))?.offsetHeight || 41;
      const first = Math.min(items.length, -own.getBoundingClientRect().top / height);
      const from = Math.max(0, Math.floor(first / STEP - 1) * STEP);
      const to = from + Math.ceil(innerHeight / height / STEP + 3) * STEP;
      look((known) => (known.from === from && known.to === to && known.height === height ? known : { from, to, height }));
    };
    const later = () => (frame ||= requestAnimationFrame(see));
    see();
    addEventListener('scroll', later, { passive: true });
    addEventListener('resize', later);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener('scroll', later);
      removeEventListener('resize', later);
    };
  }, [items.length]);
  const gap = (/** @type {number} */ rows) => rows > 0 && html`<tr class="gap" aria-hidden="true"><td colspan="99" style=${{ height: `${rows * height}px` }} /></tr>`;
  const last = Math.min(to, items.length);
  return html`<tbody ref=${body}>${gap(Math.min(from, items.length))}${items.slice(from, to).map((item, at) => row(item, from + at))}${gap(items.length - last)}</tbody>`;
}
