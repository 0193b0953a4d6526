// @ts-check
/** The frame around every screen: header, banner, and which screen is open. */
import { html, useEffect, useRef } from '../../vendor/ui.js';
import { age } from '../format.js';
import { href } from '../links.js';
import { nextTheme, shortcuts, theme } from '../settings.js';
import { state } from '../state.js';
import { ComparePage } from './compare.js';
import { Empty, Icon } from './parts.js';
import { RunPage } from './run.js';
import { RunsPage } from './runs.js';

const KEYS = [
  ['/', 'Search'],
  ['j  k', 'Next, previous chart'],
  ['←  →', 'Move the crosshair of the chart in focus'],
  ['+  −', 'Zoom in, out'],
  ['0', 'Reset the zoom (also a double click)'],
  ['Space', 'Pause, go on'],
  ['l', 'Logarithmic axis'],
  ['t', 'Theme'],
  ['?', 'This list'],
];

/** How fresh the data is, in a word and a shape. */
function Link() {
  const { up, since, ever } = state.link.value;
  if (up) return html`<span class="link up"><i /> Live</span>`;
  return html`<span class="link down"><i /> ${ever ? `Reconnecting, data is ${age(state.now.value - since)} old` : 'Connecting'}</span>`;
}

/** @param {{close: () => void}} props */
function Help({ close }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => dialog.current?.showModal(), []);
  return html`<dialog ref=${dialog} class="help" aria-labelledby="help-title" onClose=${close}>
    <h2 id="help-title">Keys</h2>
    <dl>${KEYS.map(([key, what]) => html`<div key=${key}><dt>${key.split('  ').map((k) => html`<kbd key=${k}>${k}</kbd>`)}</dt><dd>${what}</dd></div>`)}</dl>
    <p class="muted">Drag over a chart to zoom all charts; Ctrl and the wheel zoom around the pointer.</p>
    <label class="check"><input type="checkbox" checked=${shortcuts} onChange=${() => (shortcuts.value = !shortcuts.value)} /> Single keys are shortcuts</label>
    <form method="dialog"><button class="primary">Close</button></form>
  </dialog>`;
}

/** @param {{help: Signal<boolean>}} props */
function Header({ help }) {
  const route = state.route.value;
  const name = theme.value;
  return html`<header class="top">
    <a class="brand" href=${href({ page: 'runs' })}><img src=${new URL('../../icon.svg', import.meta.url).href} alt="" width="20" height="20" /> ReCIS Monitor</a>
    <nav aria-label="Main"><a href=${href({ page: 'runs' })} aria-current=${route.page === 'runs' ? 'page' : undefined}>Runs</a></nav>
    <span class="grow" />
    <${Link} />
    <button class="quiet" onClick=${nextTheme} title=${`Theme: ${name}`} aria-label=${`Theme: ${name}`}><${Icon} shape=${name} /></button>
    <button class="quiet wide-only" onClick=${() => (help.value = true)} title="Keys (?)" aria-label="Keys"><${Icon} shape="keys" /></button>
  </header>`;
}

/** Something the whole page has to say: the server is away. */
function Banner() {
  const { up, since, ever } = state.link.value;
  const wait = state.now.value - since;
  if (up || wait < 2) return null;
  return html`<div class="banner" role="status">
    ${ever ? 'The server does not answer.' : 'No live connection to the server yet.'} Everything on this page stays; it goes on by itself when the server is back.
  </div>`;
}

/** @param {{page: Page}} props */
function Screen({ page }) {
  const route = state.route.value;
  const load = state.load.value;
  if (typeof load === 'object') {
    if (load.status === 404) {
      return html`<${Empty} whole title="There is no such run">
        <p>${load.message}</p><p><a href=${href({ page: 'runs' })}>Back to all runs</a></p><//>`;
    }
    if (load.status === 401 || load.status === 403) {
      return html`<${Empty} whole title="This server asks for a token">
        <p>${load.message}</p><p>Open the address that <code>recis-monitor serve</code> printed when it started; it carries the token.</p><//>`;
    }
    return html`<${Empty} whole title="This page could not be loaded"><p>${load.message}</p>
      <p><button class="primary" onClick=${() => page.session.refresh()}>Try again</button></p><//>`;
  }
  if (route.page === 'run') return html`<${RunPage} page=${page} route=${route} />`;
  if (route.page === 'compare') return html`<${ComparePage} page=${page} />`;
  if (route.page === 'runs') return html`<${RunsPage} page=${page} />`;
  return html`<${Empty} whole title="There is no such page"><p><a href=${href({ page: 'runs' })}>Back to all runs</a></p><//>`;
}

/** @param {{page: Page, help: Signal<boolean>}} props */
export function Shell({ page, help }) {
  return html`<a class="skip" href="#main">Skip to content</a>
    <${Header} help=${help} /><${Banner} />
    <main id="main" tabindex="-1"><${Screen} page=${page} /></main>
    <div class="unseen" role="status" aria-live="polite">${state.spoken}</div>
    ${help.value && html`<${Help} close=${() => (help.value = false)} />`}`;
}
