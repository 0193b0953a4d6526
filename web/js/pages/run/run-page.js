// @ts-check
/** One run: its header, and the open tab. */
import { html, useEffect } from '../../../vendor/ui.js';
import { lazyView } from '../../components/lazy-view.js';
import { Loading } from '../../components/placeholders.js';
import { state } from '../../data/state.js';
import { runHref } from '../../routing/links.js';
import { ChartsTab } from './charts-tab.js';
import { RunFigures, RunTitle } from './run-header.js';
import { RunNotices } from './run-notices.js';

/** @type {Record<Tab, {label: string, view: (props: {app: App, run: Run}) => any}>} */
const TABS = {
  charts: { label: 'Charts', view: ChartsTab },
  tables: { label: 'Hash tables', view: lazyView(async () => (await import('./tables-tab.js')).TablesTab) },
  events: { label: 'Events', view: lazyView(async () => (await import('./events-tab.js')).EventsTab) },
  traces: { label: 'Traces', view: lazyView(async () => (await import('./traces-tab.js')).TracesTab) },
  logs: { label: 'Logs', view: lazyView(async () => (await import('./logs-tab.js')).LogsTab) },
  info: { label: 'Info', view: lazyView(async () => (await import('./info-tab.js')).InfoTab) },
};
const MAX_TITLE_CHARACTERS = 80;

/** @param {{run: string, open: Tab}} props */
function Tabs({ run, open }) {
  const link = (/** @type {Tab} */ tab) => html`<a
    key=${tab}
    href=${runHref(run, tab)}
    aria-current=${tab === open ? 'page' : undefined}
  >${TABS[tab].label}</a>`;
  return html`<nav class="tabs" aria-label="Run">${/** @type {Tab[]} */ (Object.keys(TABS)).map(link)}</nav>`;
}

/** @param {{app: App, route: {run: string, tab: Tab}}} props */
export function RunPage({ app, route }) {
  const run = state.run.value;
  const title = run?.name || route.run;
  useEffect(() => {
    document.title = `${title.slice(0, MAX_TITLE_CHARACTERS)} · ReCIS Monitor`;
  }, [title]);
  if (!run) return html`<${Loading} rows=${4} />`;
  const { view: View } = TABS[route.tab];
  return html`<div class="head">
      <div class="masthead"><${RunTitle} run=${run} /><${Tabs} run=${run.id} open=${route.tab} /></div>
      <div class="status"><${RunFigures} app=${app} run=${run} /><${RunNotices} run=${run} /></div>
    </div>
    <${View} key=${run.id} app=${app} run=${run} />`;
}
