// @ts-check
/**
 * All charts on the page, linked: they share x axis, zoom and crosshair. Draws those in the window that have changed,
 * at most once per frame, and watches their series and those of charts close to it. Knows neither server nor how a
 * chart draws.
 */
import { stepExtent, xExtent } from '../data/series.js';
import { drawOrder } from './draw-order.js';

/** How far beyond the window charts are loaded and drawn once, so that they are ready when they are scrolled to. */
const MARGIN = '100%';
const WATCH_DELAY_MS = 60;

/**
 * @typedef {object} MemberStatus
 * @property {boolean} near whether it is in the window, or close to it
 * @property {boolean} seen whether it is in the window
 * @property {boolean} dirty whether something has changed since it was drawn
 * @property {boolean} drawn whether it has been drawn with data
 */
/**
 * @typedef {object} GroupView
 * @property {number | null} from first step of the zoom
 * @property {number | null} to
 * @property {[number, number] | null} times first and last second of a zoom on the time axis
 * @property {Axis} axis
 * @property {boolean} paused
 */

export class ChartGroup {
  /**
   * @param {import('../data/series-store.js').SeriesStore} store
   * @param {import('../data/watches.js').Watches} watches
   * @param {() => GroupView} view
   */
  constructor(store, watches, view) {
    this.store = store;
    this.watches = watches;
    this.view = view;
    /** @type {Map<GroupMember, MemberStatus>} */
    this.members = new Map();
    /** @type {Map<Element, GroupMember>} */
    this.hosts = new Map();
    /** @type {[number, number] | null} what the x axis shows */
    this.range = null;
    /** @type {[number, number] | null} what the x axis shows while it is dragged */
    this.previewed = null;
    /** @type {number | null} where the crosshair is */
    this.crosshair = null;
    /** @type {GroupMember | null} the chart under the pointer */
    this.owner = null;
    this.frame = 0;
    this.timer = 0;
    this.nearness = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) this.#setNear(target, isIntersecting);
      },
      { rootMargin: `${MARGIN} 0px` },
    );
    this.visibility = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) this.#setSeen(target, isIntersecting);
    });
    this.sizes = new ResizeObserver((entries) => {
      for (const { target, contentRect } of entries) {
        this.hosts.get(target)?.resize(Math.floor(contentRect.width), Math.floor(contentRect.height));
      }
    });
  }

  /**
   * Add a chart.
   * @param {GroupMember} member
   * @returns {() => void} removes it
   */
  add(member) {
    this.members.set(member, { near: false, seen: false, dirty: true, drawn: false });
    this.hosts.set(member.host, member);
    this.nearness.observe(member.host);
    this.visibility.observe(member.host);
    this.sizes.observe(member.host);
    return () => {
      this.#setNear(member.host, false);
      this.nearness.unobserve(member.host);
      this.visibility.unobserve(member.host);
      this.sizes.unobserve(member.host);
      this.hosts.delete(member.host);
      this.members.delete(member);
    };
  }

  /**
   * Draw charts whose series have changed. All share the x axis, so a series that grows redraws every chart.
   * @param {string} run
   * @param {Set<string>} keys
   */
  seriesChanged(run, keys) {
    const { paused } = this.view();
    if (paused && this.range && [...this.members.values()].every(({ drawn, near }) => drawn || !near)) return;
    const before = this.range;
    this.range = this.#xRange();
    const moved = before?.[0] !== this.range?.[0] || before?.[1] !== this.range?.[1];
    const redrawAll = moved && this.view().from === null;
    for (const [member, status] of this.members) {
      const changed = member.sources.some((source) => source.run === run && keys.has(source.key));
      if ((redrawAll || changed) && !(paused && status.drawn)) status.dirty = true;
    }
    this.#schedule();
  }

  /** Draw all charts again: zoom, smoothing, theme or marks have changed. */
  redraw() {
    this.range = this.#xRange();
    for (const status of this.members.values()) status.dirty = true;
    this.#schedule();
  }

  /**
   * Draw another range of the x axis until it is settled, with the data that is there.
   * @param {[number, number] | null} range null to end this
   */
  preview(range) {
    this.previewed = range;
    this.redraw();
  }

  /**
   * Move the crosshair of all visible charts.
   * @param {GroupMember} owner the chart under the pointer
   * @param {number | null} x null to hide it
   */
  setCrosshair(owner, x) {
    this.crosshair = x;
    this.owner = owner;
    for (const [member, status] of this.members) if (status.near) member.point(x, member === owner);
  }

  /**
   * Hide the crosshair if this chart has set it.
   * @param {GroupMember} member
   */
  hideCrosshair(member) {
    if (this.owner === member) this.setCrosshair(member, null);
  }

  /**
   * Return the first and last step that any run on the page has reported between two times.
   * @param {number} from on the horizontal axis
   * @param {number} to
   */
  stepsBetween(from, to) {
    return stepExtent(this.#allSeries(), this.view().axis, from, to);
  }

  #allSeries() {
    const sources = [...this.members.keys()].flatMap((member) => member.sources);
    return sources.flatMap(({ run, key }) => this.store.get(run, key));
  }

  /**
   * @param {Element} host
   * @param {boolean} seen
   */
  #setSeen(host, seen) {
    const status = this.members.get(/** @type {GroupMember} */ (this.hosts.get(host)));
    if (!status) return;
    status.seen = seen;
    if (seen && status.dirty) this.#schedule();
  }

  /**
   * @param {Element} host
   * @param {boolean} near
   */
  #setNear(host, near) {
    const member = this.hosts.get(host);
    const status = member && this.members.get(member);
    if (!member || !status || status.near === near) return;
    status.near = near;
    // A frozen chart could not be drawn again as it was.
    if (!near && !this.view().paused) {
      member.release();
      Object.assign(status, { dirty: true, drawn: false });
    }
    for (const { run, key } of member.sources) {
      if (near) this.watches.acquire(run, key);
      else this.watches.release(run, key);
    }
    // Not put off by further changes: during a long scroll there would be no data until its end.
    this.timer ||= setTimeout(() => {
      this.timer = 0;
      this.watches.sync();
    }, WATCH_DELAY_MS);
    if (near) this.#schedule();
  }

  /**
   * Return what the x axis shows: where it is dragged to, the zoom, else everything that the series cover.
   * @returns {[number, number] | null}
   */
  #xRange() {
    if (this.previewed) return this.previewed;
    const { from, to, times, axis } = this.view();
    if (axis === 'step' && from !== null && to !== null) return [from, to];
    if (axis === 'time' && times) return times;
    return xExtent(this.#allSeries(), axis);
  }

  #schedule() {
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.#draw());
  }

  /**
   * Draw every chart that has data, whether it is visible or not: the page is about to be printed. Return the number of
   * those without data.
   */
  drawAll() {
    const filled = [...this.members].filter(([member]) => this.#hasData(member));
    for (const [member, status] of filled) {
      status.dirty = false;
      member.draw(this.range);
    }
    return this.members.size - filled.length;
  }

  /** @param {GroupMember} member */
  #hasData(member) {
    return member.sources.some(({ run, key }) => this.store.get(run, key).length > 0);
  }

  /**
   * Return the charts to draw: all that are seen, and once those near the window, when they have data or are about to
   * be seen. What changes beside the window is drawn when it is scrolled to.
   */
  #pending() {
    const dirty = [...this.members].filter(([, one]) => one.dirty && (one.seen || (one.near && !one.drawn)));
    return drawOrder(dirty, innerHeight).filter(
      ({ member, status, isUrgent }) => status.seen || isUrgent || this.#hasData(member),
    );
  }

  /**
   * Draw until the frame's time is used up; the rest follows in the next frame. A new plot is drawn in a microtask:
   * without waiting for it, the time of all of them would be spent after the last look at the clock.
   */
  async #draw() {
    this.frame = 0;
    const start = performance.now();
    for (const { member, status, budget } of this.#pending()) {
      if (performance.now() > start + budget) {
        this.#schedule();
        return;
      }
      status.dirty = false;
      status.drawn = this.#hasData(member);
      member.draw(this.range);
      if (this.crosshair !== null) member.point(this.crosshair, member === this.owner);
      await null;
    }
  }
}
