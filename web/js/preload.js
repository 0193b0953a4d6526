// @ts-check
/**
 * Loads the modules of a page with charts at once, rather than each after the one that imports it. Runs before all
 * other modules, which are still being loaded.
 */
const list = /** @type {HTMLTemplateElement | null} */ (document.getElementById('chart-modules'));
if (list && /\/run\/|\/compare$/.test(location.pathname)) document.head.append(list.content);
