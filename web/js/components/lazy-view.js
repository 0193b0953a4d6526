// @ts-check
/** Views whose modules are loaded when they are first shown, and again when the server is back. */
import { html, useEffect, useState } from '../../vendor/ui.js';
import { state } from '../data/state.js';
import { EmptyState, Loading } from './placeholders.js';

/** @typedef {(props: any) => any} View */

/** @param {{up: boolean}} props whether the server can be reached */
function Missing({ up }) {
  if (!up) {
    return html`<${EmptyState} title="The server is not responding">
      <p>This part of the page has not been loaded yet. It appears as soon as the server is back.</p>
    <//>`;
  }
  return html`<${EmptyState} title="This part of the page could not be loaded">
    <p><button class="primary" onClick=${() => location.reload()}>Reload the page</button></p>
  <//>`;
}

/**
 * Return a view that loads its module with the first use.
 * @param {() => Promise<View>} load
 * @param {View} [waiting] is shown meanwhile
 * @returns {View}
 */
export function lazyView(load, waiting = Loading) {
  /** @type {View | null} */
  let loaded = null;
  return function LazyView(/** @type {any} */ props) {
    const [failed, setFailed] = useState(false);
    const [, setReady] = useState(loaded !== null);
    const { up } = state.connection.value;
    const isBack = failed && up;
    useEffect(() => {
      if (loaded || (failed && !up)) return;
      const keep = (/** @type {View} */ view) => {
        loaded = view;
        setReady(true);
      };
      load().then(keep, () => setFailed(true));
    }, [isBack]);
    if (loaded) return html`<${loaded} ...${props} />`;
    return failed ? html`<${Missing} up=${up} />` : html`<${waiting} />`;
  };
}
