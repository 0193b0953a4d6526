// @ts-check
/** One chart in its card: name, value, plot, and what the crosshair says. */
import { html, useEffect, useRef, useSignal } from '../../vendor/ui.js';
import { Chart } from '../chart.js';
import { full, measure, moment, whole } from '../format.js';
import { summary } from '../picture.js';
import { lastValue, nearest, nonFinite } from '../series.js';
import { state } from '../state.js';

const SPEAK_EVERY_MS = 1000;
const MOST_ROWS = 8;

/** @param {string} key @param {Reading} r */
const reading = (key, r) => measure(key, r.value) + (r.count > 1 && r.min !== r.max ? `  (${measure(key, r.min)} to ${measure(key, r.max)})` : '');

/** @param {{chip: Signal<Chip | null>, named: boolean, label: string}} props */
function Crosshair({ chip, named, label }) {
  const now = chip.value;
  if (!now) return null;
  return html`<div class=${`chip ${now.flip ? 'flip' : ''}`} style=${{ left: `${now.left}px` }}>
    <b>${now.at}</b>${now.rows.slice(0, MOST_ROWS).map((r) => html`<span key=${r.label}>${named && html`<i style=${{ background: r.color }} /><em>${r.label}</em> `}${reading(label, r)}</span>`)}
    ${now.rows.length > MOST_ROWS && html`<span class="muted">and ${now.rows.length - MOST_ROWS} more</span>`}</div>`;
}

/**
 * @param {{page: Page, title: string, label: string, sources: Source[], height: number, kind?: 'line' | 'bars',
 *   lines: (lists: (SeriesList)[]) => Line[], marks?: boolean, value?: (lists: (SeriesList)[]) => string}} props
 */
export function ChartCard({ page, title, label, sources, height, kind = 'line', lines, marks = true, value }) {
  const host = useRef(/** @type {HTMLElement | null} */ (null));
  const shown = useSignal('–');
  const exact = useSignal('');
  const bad = useSignal(0);
  const chip = useSignal(/** @type {Chip | null} */ (null));
  const many = useSignal(false);
  const identity = sources.map((s) => `${s.run} ${s.key}`).join('\n');

  useEffect(() => {
    const element = host.current;
    if (!element) return undefined;
    const lists = () => sources.map((s) => page.store.get(s.run, s.key));
    let spoke = -Infinity;
    let timer = 0;
    /** @type {[number, number] | null} */
    let inView = null;
    /** Says what the chart shows, the last state of a burst too. */
    const speak = () => {
      timer = 0;
      spoke = performance.now();
      element.setAttribute('aria-label', summary(label, lists().find((l) => l.length) ?? [], inView));
    };
    const last = () => {
      const all = lists();
      const newest = lastValue(all[0]);
      shown.value = value ? value(all) : measure(label, newest);
      exact.value = newest === null ? '' : full(newest);
    };
    const chart = new Chart(element, page.colors(), {
      hover: (x) => (x === null && page.wall.owner !== item ? undefined : page.wall.point(item, x)),
      zoom: (from, to) => page.zoom(toStep(from), toStep(to)),
      reset: page.resetZoom,
    }, height);
    /** Steps at an x value, which is a moment where the axis shows time. @param {number} x */
    const toStep = (x) => {
      if (state.view.value.x === 'step') return x;
      const s = lists()[0].at(-1);
      return s ? s.x[nearest(s.time, s.n, x)] ?? 0 : 0;
    };
    /** @type {WallItem} */
    const item = {
      host: element,
      sources,
      resize: (width) => chart.resize(width),
      draw(range) {
        const view = state.view.value;
        const drawn = lines(lists());
        chart.draw({
          kind, lines: drawn, x: range, axis: view.x, log: view.log && kind === 'line', smooth: kind === 'line' ? view.smooth : 0,
          marks: marks ? page.marks() : [], passes: marks && view.x === 'step' ? page.passSteps() : [],
        });
        many.value = drawn.filter((l) => !l.ghost).length > 1;
        bad.value = nonFinite(lists().flat());
        if (page.wall.x === null) last();
        inView = view.x === 'step' ? range : null;
        if (!timer) timer = setTimeout(speak, spoke + SPEAK_EVERY_MS - performance.now());
      },
      point(x, own) {
        if (!own || x === null) chart.point(x);
        if (x === null) {
          chip.value = null;
          last();
          return;
        }
        const rows = chart.read(x);
        if (rows.length && !value) shown.value = measure(label, rows[0].value);
        const left = chart.offset(x);
        const at = state.view.value.x === 'time' ? moment(x) : `step ${whole(rows[0]?.x ?? x)}`;
        chip.value = own ? { left, flip: left > element.clientWidth / 2, at, rows } : null;
      },
    };
    const keys = (/** @type {KeyboardEvent} */ event) => {
      if (event.altKey || event.metaKey || event.ctrlKey) return;
      const by = event.key === 'ArrowLeft' ? -1 : event.key === 'ArrowRight' ? 1 : 0;
      if (by) {
        const x = chart.neighbour(page.wall.x, event.shiftKey ? by * 10 : by);
        if (x === null) return;
        chart.point(x);
        page.wall.point(item, x);
        state.spoken.value = `${chip.value?.at}: ${chart.read(x).map((r) => `${many.value ? `${r.label} ` : ''}${reading(label, r)}`).join(', ')}`;
      } else if (event.key === 'Escape') page.wall.point(item, null);
      else if (event.key === '+' || event.key === '=') chart.magnify(page.wall.x, 0.5);
      else if (event.key === '-') chart.magnify(page.wall.x, 2);
      else return;
      event.preventDefault();
    };
    const blur = () => page.wall.owner === item && page.wall.point(item, null);
    element.addEventListener('keydown', keys);
    element.addEventListener('blur', blur);
    const recolor = page.onColors((colors) => chart.recolor(colors));
    const remove = page.wall.add(item);
    return () => {
      clearTimeout(timer);
      element.removeEventListener('keydown', keys);
      element.removeEventListener('blur', blur);
      recolor();
      remove();
      chart.destroy();
    };
  }, [identity, kind, height]);

  return html`<section class="card" aria-label=${label}>
    <header><h3 class="name" title=${label}>${title}</h3>
      ${bad.value > 0 && html`<span class="nan" title="Values that are NaN or infinite, marked on the upper edge">${whole(bad.value)} not finite</span>`}
      <span class="value" title=${exact}>${shown}</span></header>
    <div class="plot" ref=${host} role="img" tabindex="0" aria-label=${`${label}: no data yet`} data-height=${height} />
    <${Crosshair} chip=${chip} named=${many.value} label=${label} />
  </section>`;
}
