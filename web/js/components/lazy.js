// @ts-check
/** Components whose modules are loaded when they are first shown, rather than with the page. */
import { html, useEffect, useSignal } from '../../vendor/ui.js';

/**
 * Return a component that loads another one, and shows it.
 * @param {() => Promise<any>} load imports the module
 * @param {string} name what the module exports
 */
export function lazy(load, name) {
  return (/** @type {any} */ props) => {
    const found = useSignal(/** @type {any} */ (null));
    useEffect(() => {
      const failed = () => ({ [name]: () => html`<p class="bad">This could not be loaded. Reload the page.</p>` });
      load()
        .catch(failed)
        .then((module) => (found.value = module));
    }, []);
    return found.value && html`<${found.value[name]} ...${props} />`;
  };
}
