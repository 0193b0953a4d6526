// @ts-check
/** Addresses for links, below wherever the server is mounted. */
import { parseRoute, routePath } from './router.js';

/** Where the server is mounted, with a trailing slash: this file is `{root}static/js/links.js`. */
export const root = new URL('../../', import.meta.url);

/** @param {Route} route */
export const href = (route) => new URL(routePath(route), root).href;

/** Address of a trace's file. @param {string} trace */
export const downloadHref = (trace) => new URL(`api/v1/traces/${encodeURIComponent(trace)}/download`, root).href;

/** The screen of an address, or null when it belongs to something else. @param {URL | Location} url */
export function routeOf(url) {
  if (url.origin !== root.origin || !url.pathname.startsWith(root.pathname)) return null;
  return parseRoute(url.pathname.slice(root.pathname.length), url.search);
}
