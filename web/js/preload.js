// @ts-check
/**
 * Loads the modules of the page to be shown at once, rather than each after the one that imports it. Runs before all
 * other modules, which are still being loaded.
 */
const template = /\/run\/|\/compare$/.test(location.pathname) ? 'chart-modules' : 'list-modules';
const list = /** @type {HTMLTemplateElement | null} */ (document.getElementById(template));
if (list) document.head.append(list.content);
