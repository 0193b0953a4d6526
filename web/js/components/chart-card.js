// @ts-check
/** One chart in its card: name, value, plot, and the tooltip of the crosshair. */
import { html, useEffect, useLayoutEffect, useRef, useSignal } from '../../vendor/ui.js';
import { readingText } from '../charts/captions.js';
import { setView } from '../data/state.js';
import { formatInteger } from '../format/numbers.js';
import { CardActions } from './card-actions.js';
import { ChartController } from './chart-controller.js';
import { LineLegend } from './line-legend.js';

/** @import { ChartProps, ChartReadout } from './chart-controller.js' */

const MAX_TOOLTIP_LINES = 8;
const MAX_NOTES = 6;
const GAP_PX = 12;
const TOP_PX = 40;
const MARGIN_PX = 4;

/**
 * Put the tooltip beside the crosshair, within the window.
 * @param {{current: HTMLElement | null}} element
 * @param {Tooltip | null} shown
 */
function usePlacement(element, shown) {
  useLayoutEffect(() => {
    const tooltip = element.current;
    const card = tooltip?.parentElement;
    if (!tooltip || !card || !shown) return;
    const place = card.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = tooltip;
    const x = place.left + shown.left;
    const right = x + GAP_PX + width <= document.documentElement.clientWidth;
    const left = Math.max(MARGIN_PX, right ? x + GAP_PX : x - GAP_PX - width);
    const top = Math.max(MARGIN_PX, Math.min(place.top + TOP_PX, innerHeight - MARGIN_PX - height));
    tooltip.style.translate = `${left - place.left}px ${top - place.top}px`;
  });
}

/**
 * The readings to show: all, or the highest, the lowest and those of the card's own figure.
 * @param {Reading[]} readings
 */
function shownReadings(readings) {
  if (readings.length <= MAX_TOOLTIP_LINES) return readings;
  const sorted = [...readings].sort((a, b) => b.value - a.value);
  return [...sorted.slice(0, MAX_TOOLTIP_LINES - 2), ...sorted.slice(-2)];
}

/** @param {{tooltip: Signal<Tooltip | null>, named: boolean}} props */
function ChartTooltip({ tooltip, named }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  const shown = tooltip.value;
  usePlacement(element, shown);
  if (!shown) return null;
  const { title, readings, notes } = shown;
  const listed = shownReadings(readings);
  const hidden = readings.length - listed.length;
  return html`<div class="tooltip" ref=${element}>
    <b>${title}</b>
    ${listed.map(
      (reading) => html`<span key=${reading.label}>
        ${named && html`<i style=${{ background: reading.color }} /><em>${reading.label}</em> `}
        ${readingText(reading)}
      </span>`,
    )}
    ${hidden > 0 && html`<span class="muted">and ${hidden} in between</span>`}
    ${notes
      .slice(0, MAX_NOTES)
      .map(
        (note, i) =>
          html`<span key=${`note ${i}`} class="note"><i style=${{ background: note.color }} />${note.text}</span>`,
      )}
    ${notes.length > MAX_NOTES && html`<span class="muted">and ${notes.length - MAX_NOTES} more events</span>`}
  </div>`;
}

/** @returns {ChartReadout} */
function useReadout() {
  return {
    value: useSignal('–'),
    owner: useSignal(''),
    named: useSignal(/** @type {NamedRank[]} */ ([])),
    exact: useSignal(''),
    outside: useSignal(''),
    nonFinite: useSignal(0),
    tooltip: useSignal(/** @type {Tooltip | null} */ (null)),
    manyLines: useSignal(false),
  };
}

/** @param {{nonFinite: Signal<number>}} props */
function NonFiniteBadge({ nonFinite }) {
  if (nonFinite.value === 0) return null;
  const title = 'NaN or infinite values, marked at the upper edge of the chart';
  return html`<span class="nan" title=${title}>${formatInteger(nonFinite.value)} non-finite</span>`;
}

/** @param {{outside: Signal<string>}} props */
function OutsideBadge({ outside }) {
  if (!outside.value) return null;
  const title = 'Values beyond the vertical axis, because of Robust or of its zoom';
  return html`<span class="outside" title=${title}>${outside.value}</span>`;
}

/**
 * The ranks that lie apart from the others; a click shows one alone.
 * @param {{named: Signal<NamedRank[]>}} props
 */
function NamedRanks({ named }) {
  if (named.value.length === 0) return null;
  const chip = (/** @type {NamedRank} */ { rank, remark, color }) => html`<button
    key=${rank}
    class="chip"
    onClick=${() => setView({ rank })}
    title=${`Show rank ${rank} alone`}
  ><i style=${{ background: color }} />${remark}: rank ${rank}</button>`;
  return html`<div class="chips">${named.value.map(chip)}</div>`;
}

/** @param {{owner: Signal<string>}} props */
function Owner({ owner }) {
  return owner.value ? html`<span class="owner muted name" title=${owner.value}>${owner.value}</span>` : null;
}

/** @typedef {object} CardProps
 * @property {string} title
 * @property {number} height of the plot, in pixels
 * @property {ChartKind} [kind]
 * @property {boolean} [marks]
 * @property {ChartSpec} [chart] what a pin of the card names; without it the card has no buttons
 * @property {readonly string[]} [choices] names of the series that it can show
 * @property {readonly LegendEntry[]} [legend] which line is which series
 */

/** @param {Omit<ChartProps, 'kind' | 'marks'> & CardProps} props */
export function ChartCard({ title, kind = 'line', marks = true, chart, choices = [], legend = [], height, ...props }) {
  const { label, sources } = props;
  const shown = useRef(/** @type {ChartController | null} */ (null));
  const host = useRef(/** @type {HTMLElement | null} */ (null));
  const readout = useReadout();
  const identity = sources.map(({ run, key }) => `${run} ${key}`).join('\n');

  useEffect(() => {
    const element = host.current;
    if (!element) return undefined;
    const controller = new ChartController(element, { ...props, kind, marks }, readout);
    shown.current = controller;
    const keydown = (/** @type {KeyboardEvent} */ event) => controller.keydown(event);
    const blur = () => controller.blur();
    element.addEventListener('keydown', keydown);
    element.addEventListener('blur', blur);
    return () => {
      element.removeEventListener('keydown', keydown);
      element.removeEventListener('blur', blur);
      controller.destroy();
    };
  }, [identity, kind, props.owned]);

  const initial = `${label}: no data yet`;
  const size = { '--height': `${height}px` };
  return html`<section class="card" aria-label=${label}>
    <header>
      <h3 class="name" title=${label}>${title}</h3>
      <${NonFiniteBadge} nonFinite=${readout.nonFinite} />
      <${OutsideBadge} outside=${readout.outside} />
      <${Owner} owner=${readout.owner} />
      <span class="value" title=${readout.exact}>${readout.value}</span>
      ${chart && html`<${CardActions} chart=${chart} choices=${choices} controller=${() => shown.current} />`}
    </header>
    <${NamedRanks} named=${readout.named} />
    <div class="plot" ref=${host} role="img" tabindex="0" aria-label=${initial} style=${size} />
    <${LineLegend} entries=${legend} />
    <${ChartTooltip} tooltip=${readout.tooltip} named=${readout.manyLines.value} />
  </section>`;
}
