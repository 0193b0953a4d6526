// @ts-check
/**
 * All charts on the page, linked: they share x axis, zoom and crosshair. Draws visible charts that have changed, at
 * most once per frame, and watches the series of visible charts. Knows neither server nor how a chart draws.
 */
import { stepExtent, xExtent } from '../data/series.js';

/** How far beyond the window charts are loaded and drawn, so that they are ready when they are scrolled to. */
const MARGIN = '100%';
const FRAME_BUDGET_MS = 8;
const WATCH_DELAY_MS = 60;

/** @typedef {{visible: boolean, dirty: boolean, drawn: boolean}} MemberStatus `drawn`: with data, at least once */
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
    /** @type {number | null} where the crosshair is */
    this.crosshair = null;
    /** @type {GroupMember | null} the chart under the pointer */
    this.owner = null;
    this.frame = 0;
    this.timer = 0;
    this.visibility = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) this.#setVisible(target, isIntersecting);
      },
      { rootMargin: `${MARGIN} 0px` },
    );
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
    this.members.set(member, { visible: false, dirty: true, drawn: false });
    this.hosts.set(member.host, member);
    this.visibility.observe(member.host);
    this.sizes.observe(member.host);
    return () => {
      this.#setVisible(member.host, false);
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
    if (paused && this.range && [...this.members.values()].every((status) => status.drawn || !status.visible)) return;
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
   * Move the crosshair of all visible charts.
   * @param {GroupMember} owner the chart under the pointer
   * @param {number | null} x null to hide it
   */
  setCrosshair(owner, x) {
    this.crosshair = x;
    this.owner = owner;
    for (const [member, status] of this.members) if (status.visible) member.point(x, member === owner);
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
    const sources = [...this.members.keys()].flatMap((member) => member.sources);
    return stepExtent(
      sources.flatMap(({ run, key }) => this.store.get(run, key)),
      this.view().axis,
      from,
      to,
    );
  }

  /**
   * @param {Element} host
   * @param {boolean} visible
   */
  #setVisible(host, visible) {
    const member = this.hosts.get(host);
    const status = member && this.members.get(member);
    if (!member || !status || status.visible === visible) return;
    status.visible = visible;
    for (const { run, key } of member.sources) {
      if (visible) this.watches.acquire(run, key);
      else this.watches.release(run, key);
    }
    // Not put off by further changes: during a long scroll there would be no data until its end.
    this.timer ||= setTimeout(() => {
      this.timer = 0;
      this.watches.sync();
    }, WATCH_DELAY_MS);
    if (visible) this.#schedule();
  }

  /**
   * Return what the x axis shows: the zoom, else everything that the series cover.
   * @returns {[number, number] | null}
   */
  #xRange() {
    const { from, to, times, axis } = this.view();
    if (axis === 'step' && from !== null && to !== null) return [from, to];
    if (axis === 'time' && times) return times;
    const sources = [...this.members.keys()].flatMap((member) => member.sources);
    return xExtent(
      sources.flatMap(({ run, key }) => this.store.get(run, key)),
      axis,
    );
  }

  #schedule() {
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.#draw());
  }

  /** Draw every chart that has data, whether it is visible or not: the page is about to be printed. */
  drawAll() {
    for (const [member, status] of this.members) {
      if (member.sources.some(({ run, key }) => this.store.get(run, key).length > 0)) {
        status.dirty = false;
        member.draw(this.range);
      }
    }
  }

  /** Return the visible charts to draw, those in the window before those around it. */
  #pending() {
    const pending = [...this.members].filter(([, status]) => status.dirty && status.visible);
    if (pending.length < 2) return pending;
    const isInWindow = (/** @type {[GroupMember, MemberStatus]} */ [{ host }]) => {
      const { top, bottom } = host.getBoundingClientRect();
      return bottom > 0 && top < innerHeight;
    };
    const inWindow = new Set(pending.filter(isInWindow));
    return [...inWindow, ...pending.filter((entry) => !inWindow.has(entry))];
  }

  /** Draw until the frame's time is used up; the rest follows in the next frame. */
  #draw() {
    this.frame = 0;
    const end = performance.now() + FRAME_BUDGET_MS;
    for (const [member, status] of this.#pending()) {
      if (performance.now() > end) {
        this.#schedule();
        return;
      }
      status.dirty = false;
      status.drawn = member.sources.some(({ run, key }) => this.store.get(run, key).length > 0);
      member.draw(this.range);
      if (this.crosshair !== null) member.point(this.crosshair, member === this.owner);
    }
  }
}
