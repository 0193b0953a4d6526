// @ts-check
/** Placeholders for content that is missing or still loading. */
import { html } from '../../vendor/ui.js';

/**
 * A placeholder that says why there is no content and what to do.
 * @param {{title: string, whole?: boolean, children?: any}} props `whole` when there is nothing else on the page
 */
export function EmptyState({ title, whole = false, children }) {
  return html`<div class="empty">${whole ? html`<h1>${title}</h1>` : html`<h2>${title}</h2>`}${children}</div>`;
}

/**
 * A bar for each line that is still loading.
 * @param {{rows?: number}} props
 */
export function Loading({ rows = 3 }) {
  const bars = Array.from({ length: rows }, (_, i) => html`<span key=${i} />`);
  return html`<div class="loading" role="status" aria-label="Loading">${bars}</div>`;
}
