// @ts-check
/** Starts the page: connects the app with the browser, and shows it. */
import { effect, html, render, signal, untracked } from '../vendor/ui.js';
import { App } from './app.js';
import { applySettings, nextTheme, shortcuts } from './data/settings.js';
import { setView, state } from './data/state.js';
import { Layout } from './pages/layout.js';
import { startNavigation, writeView } from './routing/navigation.js';
import { focusChart, focusSearch, startShortcuts } from './shortcuts.js';

const SPARKLINE_POINTS = 100;
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

/** Request the chart data that the view shows, and keep the view in the address. */
function followView() {
  const { rank, from, to } = state.view.value;
  const { page } = state.route.value;
  const chartPoints = Math.min(MAX_POINTS, Math.ceil(Math.min(innerWidth, MAX_CHART_WIDTH_PX) * devicePixelRatio));
  const oneRun = page === 'run';
  app.watches.setScope({
    rank: oneRun ? rank : 0,
    start: from,
    stop: to === null ? null : to + 1,
    points: page === 'runs' ? SPARKLINE_POINTS : chartPoints,
    superseded: oneRun,
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
  t: nextTheme,
  '?': () => {
    helpOpen.value = true;
  },
});
render(
  html`<${Layout} app=${app} helpOpen=${helpOpen} />`,
  /** @type {HTMLElement} */ (document.getElementById('app')),
);
