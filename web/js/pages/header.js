// @ts-check
/** The header of every page. */
import { html } from '../../vendor/ui.js';
import { Icon } from '../components/icons.js';
import { nextTheme, theme } from '../data/settings.js';
import { state } from '../data/state.js';
import { formatAge } from '../format/time.js';
import { routeHref, signOutHref, staticHref } from '../routing/links.js';

/** Whether the data is live, and how old it is when not. */
function ConnectionStatus() {
  const { up, since, ever } = state.connection.value;
  if (up) return html`<span class="connection up"><i /> Live</span>`;
  const text = ever ? `Reconnecting, data is ${formatAge(state.now.value - since)} old` : 'Connecting';
  return html`<span class="connection down"><i /> ${text}</span>`;
}

/** Who has signed in, and a way to sign out. */
function SignedIn() {
  const name = state.session.value;
  if (!name) return null;
  return html`<form class="session" method="post" action=${signOutHref}>
    <span class="wide-only" title="Signed in as ${name}">${name}</span>
    <button class="quiet" aria-label=${`Sign out ${name}`}>Sign out</button>
  </form>`;
}

/** @param {{helpOpen: Signal<boolean>}} props */
export function Header({ helpOpen }) {
  const runs = routeHref({ page: 'runs' });
  const themeTitle = `Theme: ${theme.value}`;
  const openHelp = () => {
    helpOpen.value = true;
  };
  return html`<header class="top">
    <a class="brand" href=${runs}><img src=${staticHref('icon.svg')} alt="" width="20" height="20" /> ReCIS Monitor</a>
    <nav aria-label="Main">
      <a href=${runs} aria-current=${state.route.value.page === 'runs' ? 'page' : undefined}>Runs</a>
    </nav>
    <span class="grow" />
    <${ConnectionStatus} />
    <${SignedIn} />
    <button class="quiet" onClick=${nextTheme} title=${themeTitle} aria-label=${themeTitle}>
      <${Icon} shape=${theme.value} />
    </button>
    <button class="quiet wide-only" onClick=${openHelp} title="Keyboard shortcuts (?)" aria-label="Keyboard shortcuts">
      <${Icon} shape="keyboard" />
    </button>
  </header>`;
}
