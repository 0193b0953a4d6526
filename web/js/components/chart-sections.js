// @ts-check
/** Charts in one foldable section per prefix of their names, below those that the user has pinned. */
import { html, useEffect, useLayoutEffect, useRef, useState } from '../../vendor/ui.js';
import { combineLines } from '../charts/combined.js';
import { fittingColumns, placeSections, sectionColumns } from '../charts/grid.js';
import { lineStyle } from '../charts/picture.js';
import { chartSections, PINNED, shortNames } from '../data/chart-specs.js';
import { searchKeys } from '../data/series-names.js';
import { compact, loadPins, savePins } from '../data/settings.js';
import { setView, state, toggleItem } from '../data/state.js';
import { pluralize } from '../format/numbers.js';
import { ChartCard } from './chart-card.js';
import { lazyView } from './lazy-view.js';
import { EmptyState } from './placeholders.js';

const StackCard = lazyView(async () => (await import('./stack-card.js')).StackCard);

/** Sizes in pixels: the smallest width of a card, the gap between cards, and the heights of plots. */
const COMFORTABLE = { card: 320, gap: 12, first: 190, other: 150 };
const COMPACT = { card: 250, gap: 8, first: 100, other: 100 };
const LEGEND_PX = 20;

/** @import { Place } from '../charts/grid.js' */

const density = () => (compact.value ? COMPACT : COMFORTABLE);

/** @param {readonly ChartSpec[]} charts */
const hasStack = (charts) => charts.some((chart) => chart.kind === 'stack');

/**
 * @typedef {object} ChartSectionsProps
 * @property {App} app
 * @property {readonly string[]} keys
 * @property {(key: string) => SeriesSource[]} sources
 * @property {LineBuilder} lines of one series
 * @property {string} project whose pins are remembered
 * @property {boolean} [owned] whether each figure says whose it is
 * @property {boolean} [grouped] whether a hash table has one card, and the parts of a step's time are a stack
 */

/** @param {string} name */
const startsOpen = (name) => name !== 'monitor' && !name.startsWith('monitor/');

/**
 * Return how the lines of a chart are built: those of several series are told apart by their names.
 * @param {ChartSpec} chart
 * @param {ChartSectionsProps} props
 * @returns {LineBuilder}
 */
function chartLines({ keys }, { app, sources, lines }) {
  if (keys.length === 1) return lines;
  const counts = keys.map((key) => sources(key).length);
  const names = shortNames(keys);
  return (lists) => {
    let start = 0;
    const groups = counts.map((count) => {
      start += count;
      return lines(lists.slice(start - count, start));
    });
    return combineLines(groups, names, app.palette.colors, counts[0] > 1);
  };
}

/** @param {ChartSectionsProps & {chart: ChartSpec, height: number}} props */
function Card({ chart, height, ...props }) {
  const { app, owned, sources } = props;
  const all = chart.keys.flatMap(sources);
  if (chart.kind === 'stack') {
    return html`<${StackCard} app=${app} chart=${chart} sources=${all} height=${height - LEGEND_PX} />`;
  }
  const names = chart.keys.length > 1 ? shortNames(chart.keys) : [];
  const legend = names.map((name, i) => ({ name, style: lineStyle(app.palette.colors, i) }));
  return html`<${ChartCard}
    app=${app}
    chart=${chart}
    choices=${props.keys}
    label=${chart.label}
    title=${chart.title}
    sources=${all}
    height=${legend.length ? height - LEGEND_PX : height}
    lines=${chartLines(chart, props)}
    legend=${all.length === chart.keys.length ? legend : []}
    owned=${owned}
    log=${chart.kind === 'table'}
  />`;
}

/** @typedef {ChartSectionsProps & {section: string, charts: ChartSpec[], open: boolean, place: Place}} SectionProps */

/** @param {SectionProps} props */
function Cards({ section, charts, place, ...props }) {
  const { first, other } = density();
  const height = section ? other : first;
  // A stack has many thin layers: it has the place of two charts.
  const columns = hasStack(charts) ? 1 : place.columns;
  return html`<div class="cards" style=${{ gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))` }}>
    ${charts.map((chart) => html`<${Card} key=${chart.id.join('+')} ...${props} chart=${chart} height=${height} />`)}
  </div>`;
}

/** @param {SectionProps} props */
function ChartSection(props) {
  const { section, charts, open, place } = props;
  const style = { gridColumn: `span ${place.span}` };
  if (!section) {
    return html`<div style=${style}><h2 class="visually-hidden">Metrics</h2><${Cards} ...${props} /></div>`;
  }
  const title = section === PINNED ? 'Pinned' : section;
  const toggle = (/** @type {any} */ event) => {
    if (event.currentTarget.open !== open) toggleItem('folded', section);
  };
  return html`<details class="section" style=${style} open=${open} onToggle=${toggle}>
    <summary><h2 class="name" title=${title}>${title}</h2><span class="muted">${charts.length}</span></summary>
    ${open && html`<${Cards} ...${props} />`}
  </details>`;
}

function NoMetrics() {
  return html`<${EmptyState} title="No metrics yet"><p>Charts appear here with the first report of a metric.</p><//>`;
}

/** @param {{total: number}} props */
function NoMatch({ total }) {
  const showAll = () => setView({ q: '' });
  return html`<${EmptyState} title="No matching charts">
    <p>None of ${pluralize(total, 'series', 'series')} has “${state.view.value.q}” in its name.</p>
    <p><button onClick=${showAll}>Show all charts</button></p>
  <//>`;
}

/**
 * Show the pins of the address, else those remembered for the project, and remember what the user makes of them.
 * @param {string} project
 */
function usePins(project) {
  const { pins } = state.view.value;
  const known = useRef(/** @type {string | null} */ (null));
  useEffect(() => {
    const text = JSON.stringify(pins);
    const remembered = known.current === null && pins.length === 0 ? loadPins(project) : [];
    if (remembered.length > 0) setView({ pins: remembered });
    else if (known.current !== null && known.current !== text) savePins(project, pins);
    known.current = JSON.stringify(state.view.peek().pins);
  }, [project, pins]);
}

/** @returns {[element: {current: HTMLElement | null}, width: number]} */
function useWidth() {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    if (!element.current) return undefined;
    setWidth(element.current.clientWidth);
    const observer = new ResizeObserver(([{ contentRect }]) => setWidth(contentRect.width));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return [element, width];
}

/**
 * The charts that the search of the view finds; the series of a group have charts of their own in a search only.
 * @param {ChartSectionsProps} props
 */
export function ChartSections(props) {
  const { keys, project, grouped = false } = props;
  const [element, width] = useWidth();
  usePins(project);
  const { q, pins } = state.view.value;
  const found = searchKeys(keys, q);
  const { card, gap } = density();
  const fitting = fittingColumns(width, card, gap);
  const sections = (width === 0 ? [] : chartSections(keys, found, pins, grouped)).map(([section, charts]) => {
    const open = startsOpen(section) !== state.view.value.folded.includes(section);
    const count = hasStack(charts) ? Math.min(2, fitting) : charts.length;
    return { section, charts, open, count: section && open ? count : 0 };
  });
  const counts = sections.map(({ count }) => count);
  // Named by its cards, the first section has no heading and therefore a row of its own.
  const places = placeSections(counts, fitting).map((place, i) =>
    counts[i] ? place : { ...place, columns: sectionColumns(sections[i].charts.length, fitting) },
  );
  const style = { '--gap': `${gap}px`, gridTemplateColumns: `repeat(${fitting}, minmax(0, 1fr))` };
  return html`<div class="sections" ref=${element} style=${style}>
    ${keys.length === 0 && html`<${NoMetrics} />`}
    ${keys.length > 0 && found.length === 0 && html`<${NoMatch} total=${keys.length} />`}
    ${sections.map(
      (section, i) => html`<${ChartSection} key=${section.section} ...${props} ...${section} place=${places[i]} />`,
    )}
  </div>`;
}
