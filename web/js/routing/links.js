// @ts-check
/** URLs of the page and of its files, wherever the server is mounted. */
import { parseRoute, routePath } from './routes.js';

/** URL at which the server is mounted, with a trailing slash: this file is `{root}static/js/routing/links.js`. */
export const root = new URL('../../../', import.meta.url);

/** @param {Route} route */
export const routeHref = (route) => new URL(routePath(route), root).href;

/**
 * Return the URL of a run's page.
 * @param {string} run
 * @param {Tab} [tab]
 */
export const runHref = (run, tab = 'charts') => routeHref({ page: 'run', run, tab });

/**
 * Return the URL of a static file of the page.
 * @param {string} name
 */
export const staticHref = (name) => new URL(`static/${name}`, root).href;

/** Where a form ends the session of the person who has signed in. */
export const signOutHref = new URL('auth/logout', root).href;

/**
 * Return the download URL of a trace.
 * @param {string} trace
 */
export const downloadHref = (trace) => new URL(`api/v1/traces/${encodeURIComponent(trace)}/download`, root).href;

/**
 * Return the download URL of everything that was changed in a run.
 * @param {string} run
 */
export const auditHref = (run) => new URL(`api/v1/runs/${encodeURIComponent(run)}/audit?format=csv`, root).href;

/**
 * Return the route of a URL, or null when the URL is not below the root.
 * @param {URL | Location} url
 */
export function routeOf(url) {
  if (url.origin !== root.origin || !url.pathname.startsWith(root.pathname)) return null;
  return parseRoute(url.pathname.slice(root.pathname.length), url.search);
}
