// @ts-check
/** Views whose modules are loaded when they are first shown. */
import { html, useEffect, useState } from '../../vendor/ui.js';
import { EmptyState, Loading } from './placeholders.js';

/** @typedef {(props: any) => any} View */

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
    useEffect(() => {
      if (loaded) return;
      const keep = (/** @type {View} */ view) => {
        loaded = view;
        setReady(true);
      };
      load().then(keep, () => setFailed(true));
    }, []);
    if (loaded) return html`<${loaded} ...${props} />`;
    if (!failed) return html`<${waiting} />`;
    return html`<${EmptyState} title="This part of the page could not be loaded">
      <p><button class="primary" onClick=${() => location.reload()}>Reload the page</button></p>
    <//>`;
  };
}
