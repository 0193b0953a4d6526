// @ts-check
/** A whole run in a strip above zoomed charts, with the part in view to be moved and resized. */
import { html, useEffect, useSignal } from '../../vendor/ui.js';
import { followDrag } from '../charts/drag.js';
import { SPARKLINE_HEIGHT, SPARKLINE_MARGIN, SPARKLINE_WIDTH, sparklinePaths } from '../charts/sparkline.js';
import { clampWindow, dragWindow, scaleWindow } from '../charts/window.js';
import { decodeFrame } from '../data/frames.js';
import { headlineMetrics } from '../data/headline.js';
import { state } from '../data/state.js';
import { formatInteger } from '../format/numbers.js';

/** @import { Extent, Grip } from '../charts/window.js' */

const POINTS = 500;
const REFRESH_MS = 10_000;
/** Distance from an end of the part within which a drag moves that end. */
const GRIP_PX = 8;
const KEY_SHARE = 0.25;
const VIEW_BOX = `${SPARKLINE_MARGIN} 0 ${SPARKLINE_WIDTH - 2 * SPARKLINE_MARGIN} ${SPARKLINE_HEIGHT}`;

/**
 * Load a series of a run from its first to its newest step, again and again.
 * @param {App} app
 * @param {string} run
 * @param {string | undefined} key
 * @param {number} rank
 * @returns {Series | null}
 */
function useWholeSeries(app, run, key, rank) {
  const loaded = useSignal(/** @type {Series | null} */ (null));
  useEffect(() => {
    if (!key) return undefined;
    const aborter = new AbortController();
    const take = (/** @type {ArrayBuffer} */ buffer) => {
      loaded.value = decodeFrame(buffer).series.find((series) => !series.superseded && series.n > 1) ?? null;
    };
    // A request that fails leaves what was there before.
    const load = () => app.api.series(run, { key, rank, points: POINTS }, aborter.signal).then(take, () => {});
    load();
    const timer = setInterval(load, REFRESH_MS);
    return () => {
      clearInterval(timer);
      aborter.abort();
    };
  }, [run, key, rank]);
  return loaded.value;
}

/**
 * Return how a key changes the part in view.
 * @param {KeyboardEvent} event
 * @param {Extent} part
 * @param {Extent} whole
 * @returns {Extent | null}
 */
function movedByKey({ key }, part, whole) {
  const by = (part[1] - part[0]) * KEY_SHARE;
  const length = whole[1] - whole[0];
  if (key === 'ArrowLeft') return dragWindow(part, whole, 'whole', -by);
  if (key === 'ArrowRight') return dragWindow(part, whole, 'whole', by);
  if (key === 'Home') return dragWindow(part, whole, 'whole', -length);
  if (key === 'End') return dragWindow(part, whole, 'whole', length);
  if (key === '+' || key === '=') return scaleWindow(part, whole, 0.5);
  return key === '-' ? scaleWindow(part, whole, 2) : null;
}

/**
 * The part in view, over the strip.
 * @param {{part: Extent, whole: Extent, show: (part: Extent, settled: boolean) => void}} props
 */
function Part({ part, whole, show }) {
  const start = (/** @type {PointerEvent} */ event) => {
    if (event.button !== 0) return;
    const strip = /** @type {HTMLElement} */ (event.currentTarget);
    const box = strip.getBoundingClientRect();
    const perPixel = (whole[1] - whole[0]) / box.width;
    const [left, right] = part.map((step) => box.left + (step - whole[0]) / perPixel);
    const x = event.clientX;
    /** @type {Grip} */
    const grip = Math.abs(x - left) <= GRIP_PX ? 'start' : Math.abs(x - right) <= GRIP_PX ? 'end' : 'whole';
    // A press outside of the part centers it there.
    const jump = grip === 'whole' && (x < left || x > right) ? (x - (left + right) / 2) * perPixel : 0;
    followDrag(strip, event, (now, settled) => {
      show(now ? dragWindow(part, whole, grip, jump + (now.clientX - x) * perPixel) : part, settled);
    });
  };
  const keydown = (/** @type {KeyboardEvent} */ event) => {
    const next = movedByKey(event, part, whole);
    if (!next || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    show(next, true);
  };
  const percent = (/** @type {number} */ step) => `${((step - whole[0]) / (whole[1] - whole[0])) * 100}%`;
  return html`<div class="track" onPointerDown=${start}>
    <div
      class="part"
      role="slider"
      tabindex="0"
      aria-label="Part of the run in view"
      aria-valuemin=${whole[0]}
      aria-valuemax=${whole[1]}
      aria-valuenow=${Math.round(part[0])}
      aria-valuetext=${`steps ${formatInteger(Math.round(part[0]))} to ${formatInteger(Math.round(part[1]))}`}
      style=${{ left: percent(part[0]), right: `calc(100% - ${percent(part[1])})` }}
      onKeyDown=${keydown}
    />
  </div>`;
}

/** @param {{app: App, run: Run}} props */
export function OverviewStrip({ app, run }) {
  const dragged = useSignal(/** @type {Extent | null} */ (null));
  const { from, to, metrics, rank, x: axis } = state.view.value;
  const key = headlineMetrics(Object.keys(run.summary), metrics).at(-1);
  const series = useWholeSeries(app, run.id, key, typeof rank === 'number' ? rank : (run.ranks[0] ?? 0));
  if (!series || from === null || to === null) return null;
  /** @type {Extent} */
  const whole = [series.x[0], series.x[series.n - 1] + series.width - 1];
  const show = (/** @type {Extent} */ part, /** @type {boolean} */ settled) => {
    dragged.value = settled ? null : part;
    if (settled) app.zoomToSteps(part[0], part[1]);
    else if (axis === 'step') app.charts.preview(part);
  };
  const { line, band } = sparklinePaths(series);
  return html`<div class="overview" role="group" aria-label=${`Whole run: ${key}`}>
    <svg viewBox=${VIEW_BOX} preserveAspectRatio="none" aria-hidden="true">
      <path class="band" d=${band} /><path class="line" d=${line} />
    </svg>
    <${Part} part=${clampWindow(dragged.value ?? [from, to], whole)} whole=${whole} show=${show} />
  </div>`;
}
