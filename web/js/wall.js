// @ts-check
/**
 * All charts on screen under one clock: draws what is dirty and visible once a frame, watches what is visible, and shares
 * crosshair and zoom. Must not know the server or how a chart paints.
 */
import { extent } from './series.js';

const MARGIN_PX = 200;
const FRAME_BUDGET_MS = 8;
const WATCH_DELAY_MS = 60;

export class Wall {
  /** @param {import('./series.js').SeriesStore} store @param {import('./watch.js').Watches} watches @param {() => {from: number | null, to: number | null, axis: Axis, paused: boolean}} clock */
  constructor(store, watches, clock) {
    this.store = store;
    this.watches = watches;
    this.clock = clock;
    /** @type {Map<WallItem, {visible: boolean, dirty: boolean}>} */
    this.items = new Map();
    /** @type {Map<Element, WallItem>} */
    this.hosts = new Map();
    /** @type {number | null} */
    this.x = null;
    /** @type {[number, number] | null} */
    this.range = null;
    /** @type {WallItem | null} */
    this.owner = null;
    this.frame = 0;
    this.timer = 0;
    this.seen = new IntersectionObserver((entries) => entries.forEach((e) => this.show(e.target, e.isIntersecting)), { rootMargin: `${MARGIN_PX}px` });
    this.sized = new ResizeObserver((entries) => entries.forEach((e) => this.hosts.get(e.target)?.resize(Math.floor(e.contentRect.width))));
  }

  /** @param {WallItem} item @returns {() => void} takes it away again */
  add(item) {
    this.items.set(item, { visible: false, dirty: true });
    this.hosts.set(item.host, item);
    this.seen.observe(item.host);
    this.sized.observe(item.host);
    return () => {
      this.show(item.host, false);
      this.seen.unobserve(item.host);
      this.sized.unobserve(item.host);
      this.hosts.delete(item.host);
      this.items.delete(item);
    };
  }

  /** @param {Element} host @param {boolean} visible */
  show(host, visible) {
    const item = this.hosts.get(host);
    const status = item && this.items.get(item);
    if (!item || !status || status.visible === visible) return;
    status.visible = visible;
    for (const { run, key } of item.sources) {
      if (visible) this.watches.want(run, key);
      else this.watches.unwant(run, key);
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.watches.sync(), WATCH_DELAY_MS);
    if (visible) this.schedule();
  }

  /** New data for some series. All charts share the x axis, so a longer one moves every chart. @param {string} run @param {Set<string>} keys */
  changed(run, keys) {
    if (this.clock().paused) return;
    const before = this.range;
    this.range = this.reach();
    const moved = this.clock().from === null && (before?.[0] !== this.range?.[0] || before?.[1] !== this.range?.[1]);
    for (const [item, status] of this.items) {
      if (moved || item.sources.some((s) => s.run === run && keys.has(s.key))) status.dirty = true;
    }
    this.schedule();
  }

  /** Everything looks different now: zoom, smoothing, theme, marks. */
  redraw() {
    this.range = this.reach();
    for (const status of this.items.values()) status.dirty = true;
    this.schedule();
  }

  /** What the x axis shows: the zoom, else all that the watched series cover. @returns {[number, number] | null} */
  reach() {
    const { from, to, axis } = this.clock();
    if (axis === 'step' && from !== null && to !== null) return [from, to];
    const all = [];
    for (const item of this.items.keys()) for (const { run, key } of item.sources) all.push(...this.store.get(run, key));
    return extent(all, axis);
  }

  schedule() {
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.paint());
  }

  paint() {
    this.frame = 0;
    const end = performance.now() + FRAME_BUDGET_MS;
    for (const [item, status] of this.items) {
      if (!status.dirty || !status.visible) continue;
      if (performance.now() > end) {
        this.schedule();
        return;
      }
      status.dirty = false;
      item.draw(this.range);
      if (this.x !== null) item.point(this.x, item === this.owner);
    }
  }

  /** Moves the crosshair on all visible charts. @param {WallItem} owner the chart under the pointer @param {number | null} x */
  point(owner, x) {
    this.x = x;
    this.owner = owner;
    for (const [item, status] of this.items) if (status.visible) item.point(x, item === owner);
  }
}
