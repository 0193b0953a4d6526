// @ts-check
/** Starts the page: connects the app with the browser, and shows it. */
import { computed, effect, html, render, signal, untracked } from '../vendor/ui.js';
import { App } from './app.js';
import { shownRank, shownRankWithoutBand } from './data/ranks.js';
import { applySettings, compact, nextTheme, shortcuts, theme } from './data/settings.js';
import { setView, state } from './data/state.js';
import { Layout } from './pages/layout.js';
import { startNavigation, writeView } from './routing/navigation.js';
import { focusChart, focusSearch, pressInChart, startShortcuts } from './shortcuts.js';

const SPARKLINE_POINTS = 100;
/** Windows of about the same width request the same, which the server then works out once. */
const POINTS_STEP = 200;
const MAX_POINTS = 2000;
const MAX_CHART_WIDTH_PX = 900;
/** A tab that is hidden for longer receives no chart data. */
const SUSPEND_AFTER_MS = 20_000;

const app = new App();
const helpOpen = signal(false);

/** Keep the server's time in the state. */
function startClock() {
  const tick = () => {
    state.now.value = app.api.now();
    app.connection.check(() => app.api.meta());
  };
  tick();
  setInterval(tick, 1000);
}

/** Follow the tab's visibility and the network. */
function startVisibility() {
  let timer = 0;
  addEventListener('online', () => app.session.resume());
  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => app.session.suspend(), SUSPEND_AFTER_MS);
    else app.session.resume();
  });
}

/** Print in the colors of paper, with every chart that has data, and say how many others there are. */
function startPrinting() {
  const print = (/** @type {string} */ colors) => {
    document.documentElement.dataset.theme = colors;
    app.palette.refresh();
    const empty = app.charts.drawAll();
    document.body.dataset.unprinted = empty ? `Not printed: ${empty} charts far from the visible part of the page` : '';
  };
  addEventListener('beforeprint', () => print('light'));
  addEventListener('afterprint', () => print(theme.peek()));
}

/** What the charts show of the run's ranks. A run is pushed twice a second: only another answer has effects. */
const rankInView = computed(() => {
  const route = state.route.value;
  if (route.page !== 'run') return 0;
  const ranks = state.run.value?.ranks ?? [];
  const { rank } = state.view.value;
  return route.tab === 'charts' ? shownRank(rank, ranks) : shownRankWithoutBand(rank, ranks);
});

/** The rank whose newest values are shown. */
const headRank = computed(() => {
  const rank = rankInView.value;
  return typeof rank === 'number' ? rank : (state.run.value?.ranks[0] ?? 0);
});

/** Request the chart data that the view shows, and keep the view in the address. */
function followView() {
  const { from, to } = state.view.value;
  const { page } = state.route.value;
  const rank = rankInView.value;
  const pixels = Math.min(innerWidth, MAX_CHART_WIDTH_PX) * devicePixelRatio;
  const chartPoints = Math.min(MAX_POINTS, Math.ceil(pixels / POINTS_STEP) * POINTS_STEP);
  app.newest.setRank(headRank.value);
  app.watches.setScope({
    rank,
    start: from,
    stop: to === null ? null : to + 1,
    points: page === 'runs' ? SPARKLINE_POINTS : chartPoints,
    superseded: page === 'run' && rank !== 'band',
  });
  untracked(() => {
    writeView();
    app.charts.redraw();
  });
}

/** Draw the marks of new events and filter passes. */
function followMarks() {
  if (state.events.value.length + state.passes.value.length > 0) app.charts.redraw();
}

startClock();
app.start();
startVisibility();
startPrinting();
startNavigation((route) => app.session.enter(route));
applySettings(() => {
  app.palette.refresh();
  app.charts.redraw();
});
effect(followView);
effect(followMarks);
startShortcuts(() => shortcuts.value, {
  '/': focusSearch,
  j: () => focusChart(1),
  k: () => focusChart(-1),
  0: () => app.resetZoom(),
  ' ': () => app.togglePause(),
  l: () => setView({ log: !state.view.value.log }),
  p: () => pressInChart('.pin'),
  r: () => setView({ robust: !state.view.value.robust }),
  d: () => {
    compact.value = !compact.peek();
  },
  t: nextTheme,
  '?': () => {
    helpOpen.value = true;
  },
});
render(
  html`<${Layout} app=${app} helpOpen=${helpOpen} />`,
  /** @type {HTMLElement} */ (document.getElementById('app')),
);
