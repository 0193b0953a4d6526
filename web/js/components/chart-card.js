// @ts-check
/** One chart in its card: name, value, plot, and the tooltip of the crosshair. */
import { html, useEffect, useRef, useSignal } from '../../vendor/ui.js';
import { formatInteger } from '../format/numbers.js';
import { ChartController, readingText } from './chart-controller.js';

/** @import { ChartProps, ChartReadout } from './chart-controller.js' */

const MAX_TOOLTIP_LINES = 8;

/** @param {{tooltip: Signal<Tooltip | null>, named: boolean, label: string}} props */
function ChartTooltip({ tooltip, named, label }) {
  const shown = tooltip.value;
  if (!shown) return null;
  const { flip, left, title, readings } = shown;
  const hidden = readings.length - MAX_TOOLTIP_LINES;
  return html`<div class=${`tooltip ${flip ? 'flip' : ''}`} style=${{ left: `${left}px` }}>
    <b>${title}</b>
    ${readings.slice(0, MAX_TOOLTIP_LINES).map(
      (reading) => html`<span key=${reading.label}>
        ${named && html`<i style=${{ background: reading.color }} /><em>${reading.label}</em> `}
        ${readingText(label, reading)}
      </span>`,
    )}
    ${hidden > 0 && html`<span class="muted">and ${hidden} more</span>`}
  </div>`;
}

/** @returns {ChartReadout} */
function useReadout() {
  return {
    value: useSignal('–'),
    exact: useSignal(''),
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

/**
 * @param {Omit<ChartProps, 'kind' | 'marks'> & {title: string, kind?: ChartKind, marks?: boolean}} props
 */
export function ChartCard({ title, kind = 'line', marks = true, ...props }) {
  const { label, sources, height } = props;
  const host = useRef(/** @type {HTMLElement | null} */ (null));
  const readout = useReadout();
  const identity = sources.map(({ run, key }) => `${run} ${key}`).join('\n');

  useEffect(() => {
    const element = host.current;
    if (!element) return undefined;
    const controller = new ChartController(element, { ...props, kind, marks }, readout);
    const keydown = (/** @type {KeyboardEvent} */ event) => controller.keydown(event);
    const blur = () => controller.blur();
    element.addEventListener('keydown', keydown);
    element.addEventListener('blur', blur);
    return () => {
      element.removeEventListener('keydown', keydown);
      element.removeEventListener('blur', blur);
      controller.destroy();
    };
  }, [identity, kind, height]);

  const initial = `${label}: no data yet`;
  return html`<section class="card" aria-label=${label}>
    <header>
      <h3 class="name" title=${label}>${title}</h3>
      <${NonFiniteBadge} nonFinite=${readout.nonFinite} />
      <span class="value" title=${readout.exact}>${readout.value}</span>
    </header>
    <div class="plot" ref=${host} role="img" tabindex="0" aria-label=${initial} data-height=${height} />
    <${ChartTooltip} tooltip=${readout.tooltip} named=${readout.manyLines.value} label=${label} />
  </section>`;
}
