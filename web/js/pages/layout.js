// @ts-check
/** The frame of every page: header, banner, and the page of the current route. */
import { html } from '../../vendor/ui.js';
import { lazyView } from '../components/lazy-view.js';
import { EmptyState } from '../components/placeholders.js';
import { state } from '../data/state.js';
import { routeHref } from '../routing/links.js';
import { Header } from './header.js';

const RunsPage = lazyView(async () => (await import('./runs/runs-page.js')).RunsPage);
const RunPage = lazyView(async () => (await import('./run/run-page.js')).RunPage);
const ComparePage = lazyView(async () => (await import('./compare/compare-page.js')).ComparePage);

const nothing = () => null;
const DoneToast = lazyView(async () => (await import('./done-toast.js')).DoneToast, nothing);
const HelpDialog = lazyView(async () => (await import('./help-dialog.js')).HelpDialog, nothing);

const BANNER_AFTER_S = 2;

/** Says that the server cannot be reached. */
function ConnectionBanner() {
  const { up, since, ever } = state.connection.value;
  if (up || state.now.value - since < BANNER_AFTER_S) return null;
  return html`<div class="banner" role="status">
    ${ever ? 'The server is not responding.' : 'No live connection to the server yet.'}${' '}
    This page keeps its data and reconnects automatically.
  </div>`;
}

function RunsLink() {
  return html`<p><a href=${routeHref({ page: 'runs' })}>Back to all runs</a></p>`;
}

/** @param {{error: {status: number, message: string}, app: App}} props */
function LoadError({ error: { status, message }, app }) {
  if (status === 404) {
    return html`<${EmptyState} whole title="Run not found">
      <p>${message}</p>
      <p>If its training has just started, this page opens the run when its first data arrives.</p>
      <${RunsLink} />
    <//>`;
  }
  if (status === 401 || status === 403) {
    return html`<${EmptyState} whole title="This server requires a token">
      <p>${message}</p>
      <p>Open the URL that <code>recis-monitor serve</code> printed when it started; it contains the token.</p>
    <//>`;
  }
  const [title, text] =
    status === 0
      ? ['The server is not responding', 'The page is loaded as soon as the server is back.']
      : ['This page could not be loaded', message];
  return html`<${EmptyState} whole title=${title}>
    <p>${text}</p>
    <p><button class="primary" onClick=${() => app.session.refresh()}>Try again</button></p>
  <//>`;
}

/** @param {{app: App}} props */
function CurrentPage({ app }) {
  const route = state.route.value;
  const load = state.load.value;
  if (typeof load === 'object') return html`<${LoadError} error=${load} app=${app} />`;
  if (route.page === 'runs') return html`<${RunsPage} app=${app} />`;
  if (route.page === 'run') return html`<${RunPage} app=${app} route=${route} />`;
  if (route.page === 'compare') return html`<${ComparePage} app=${app} ids=${route.runs} />`;
  return html`<${EmptyState} whole title="Page not found"><${RunsLink} /><//>`;
}

/** @param {{app: App, helpOpen: Signal<boolean>}} props */
export function Layout({ app, helpOpen }) {
  return html`<a class="skip" href="#main">Skip to content</a>
    <${Header} helpOpen=${helpOpen} />
    <${ConnectionBanner} />
    <main id="main" tabindex="-1"><${CurrentPage} app=${app} /></main>
    <div class="visually-hidden" role="status" aria-live="polite">${state.announcement}</div>
    ${state.done.value && html`<${DoneToast} />`}
    ${helpOpen.value && html`<${HelpDialog} open=${helpOpen} />`}`;
}
