// @ts-check
/** What an entered filter interval would mean for the hash tables, asked of the server while it is entered. */
import { html, useEffect, useSignal } from '../../vendor/ui.js';
import { forecastFigures, forecastNotes } from '../controls/forecast.js';
import { Commands } from '../data/commands.js';
import { state } from '../data/state.js';

const PAUSE_MS = 250;

/** @param {{interval: number, app: App}} props */
export function FilterForecast({ interval, app }) {
  const forecast = useSignal(/** @type {Forecast | null} */ (null));
  const problem = useSignal('');
  const lastPass = state.passes.value.at(-1)?.step;
  useEffect(() => {
    let open = true;
    const ask = async () => {
      try {
        const found = await new Commands(app.api).forecast(interval);
        if (open) forecast.value = found;
      } catch (error) {
        if (open) problem.value = /** @type {Error} */ (error).message;
      }
    };
    problem.value = '';
    const timer = setTimeout(ask, PAUSE_MS);
    return () => {
      open = false;
      clearTimeout(timer);
    };
  }, [interval, lastPass]);
  const found = forecast.value;
  if (problem.value) return html`<p class="bad">${problem.value}</p>`;
  if (found?.filter_interval !== interval) return html`<p class="muted">Predicting…</p>`;
  const figure = (/** @type {{label: string, value: string}} */ { label, value }) =>
    html`<div key=${label}>
      <dt>${label}</dt>
      <dd>${value}</dd>
    </div>`;
  return html`<section class="forecast" aria-label="Prediction">
    ${found.total && html`<dl>${forecastFigures(found.total).map(figure)}</dl>`}
    ${forecastNotes(found).map((note) => html`<p key=${note} class="muted">${note}</p>`)}
  </section>`;
}
