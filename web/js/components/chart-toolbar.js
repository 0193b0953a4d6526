// @ts-check
/** The toolbar of charts: search, axes, smoothing, zoom and pause act on all charts of the page. */
import { html, useSignal } from '../../vendor/ui.js';
import { compact } from '../data/settings.js';
import { setView, state } from '../data/state.js';
import { Icon } from './icons.js';
import { onValue, SearchField } from './inputs.js';
import { lazyView } from './lazy-view.js';

const OverviewStrip = lazyView(
  async () => (await import('./overview-strip.js')).OverviewStrip,
  () => null,
);

/** @type {readonly [Axis, string][]} */
const AXES = [
  ['step', 'Step'],
  ['relative', 'Relative'],
  ['time', 'Time'],
];

function AxisChoice() {
  const { x } = state.view.value;
  return html`<span class="segments" role="group" aria-label="Horizontal axis">
    ${AXES.map(
      ([axis, label]) =>
        html`<button key=${axis} aria-pressed=${x === axis} onClick=${() => setView({ x: axis })}>${label}</button>`,
    )}
  </span>`;
}

function Smoothing() {
  const { smooth } = state.view.value;
  const set = onValue((value) => setView({ smooth: Number(value) }));
  return html`<label class="field">
    Smoothing
    <input type="range" min="0" max="0.98" step="0.02" value=${smooth} onInput=${set} />
    <span class="fixed">${smooth ? smooth.toFixed(2) : 'off'}</span>
  </label>`;
}

function LogButton() {
  const { log } = state.view.value;
  const toggle = () => setView({ log: !log });
  return html`<button aria-pressed=${log} onClick=${toggle} title="Logarithmic vertical axis (l)">Log</button>`;
}

function RobustButton() {
  const { robust } = state.view.value;
  const toggle = () => setView({ robust: !robust });
  const title = 'Leave outliers out of the vertical axis; each card says how many (r)';
  return html`<button aria-pressed=${robust} onClick=${toggle} title=${title}>Robust</button>`;
}

function DensityButton() {
  const toggle = () => {
    compact.value = !compact.value;
  };
  return html`<button aria-pressed=${compact} onClick=${toggle} title="Smaller charts, more on screen (d)">
    <${Icon} shape="grid" /> Compact
  </button>`;
}

/** @param {{app: App}} props */
function ResetZoomButton({ app }) {
  const { from, scales } = state.view.value;
  if (from === null && scales.length === 0) return null;
  const title = 'Reset the zoom of all charts and follow new data (0)';
  return html`<button class="primary" onClick=${() => app.resetZoom()} title=${title}>
    ${from === null ? 'Reset zoom' : 'Back to live'}
  </button>`;
}

/** @param {{app: App}} props */
function PauseButton({ app }) {
  const { paused } = state.view.value;
  const title = 'Freeze the charts; no data is lost (Space)';
  return html`<button aria-pressed=${paused} onClick=${() => app.togglePause()} title=${title}>
    <${Icon} shape=${paused ? 'play' : 'pause'} solid=${paused} /> ${paused ? 'Paused' : 'Pause'}
  </button>`;
}

/**
 * The toolbar; on a narrow screen all but the search and the reset of a zoom are behind a button.
 * @param {{app: App, run: Run, search?: boolean, children?: any}} props `children` come after the search field; a zoom
 * shows the whole of `run` below
 */
export function ChartToolbar({ app, run, search = true, children }) {
  const open = useSignal(false);
  const toggle = () => {
    open.value = !open.value;
  };
  return html`<div class="toolbar" role="toolbar" aria-label="Charts">
    ${search && html`<${SearchField} label="Search charts" />`}
    <button class="narrow-only" aria-expanded=${open} aria-controls="chart-options" onClick=${toggle}>
      <${Icon} shape="options" /> Options
    </button>
    <${ResetZoomButton} app=${app} />
    <div class="options" id="chart-options" data-open=${open}>
      ${children}
      <${AxisChoice} />
      <${Smoothing} />
      <${LogButton} />
      <${RobustButton} />
      <${DensityButton} />
      <${PauseButton} app=${app} />
    </div>
    ${state.view.value.from !== null && html`<${OverviewStrip} key=${run.id} app=${app} run=${run} />`}
  </div>`;
}
