// @ts-check
/** The effect of a command: what is compared, a row for each metric, and notes. */
import { html, useEffect, useRef, useSignal } from '../../vendor/ui.js';
import { effectNotes, effectRow, effectText } from '../controls/effect.js';
import { Commands } from '../data/commands.js';
import { Loading } from './placeholders.js';

const ASK_AGAIN_MS = 2000;

/** @param {{metric: EffectMetric}} props */
function Row({ metric }) {
  const { name, before, after, change, verdict, isEffect } = effectRow(metric);
  return html`<tr>
    <th scope="row">${name}</th>
    <td class=${isEffect ? '' : 'muted'}>${isEffect ? html`<b>${verdict}</b>` : verdict}</td>
    <td class="number">${isEffect ? html`<b>${change}</b>` : change}</td>
    <td class="number">${before}</td>
    <td class="number">${after}</td>
  </tr>`;
}

/** @param {{metrics: EffectMetric[]}} props */
function Figures({ metrics }) {
  return html`<div class="scroll" role="region" aria-label="Before and after" tabindex="0">
    <table class="grid dense">
      <thead>
        <tr>
          <th>Metric</th>
          <th>Result</th>
          <th class="number">Change</th>
          <th class="number">Before</th>
          <th class="number">After</th>
        </tr>
      </thead>
      <tbody>${metrics.map((metric) => html`<${Row} key=${metric.key} metric=${metric} />`)}</tbody>
    </table>
  </div>`;
}

/** @param {{command: Command, app: App}} props */
export function EffectCard({ command, app }) {
  const effect = useSignal(/** @type {Effect | null} */ (null));
  const problem = useSignal('');
  const card = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    let timer = 0;
    let open = true;
    const ask = async () => {
      try {
        const found = await new Commands(app.api).effect(command.id);
        if (!open) return;
        effect.value = found;
        problem.value = '';
      } catch (error) {
        if (!open) return;
        problem.value = /** @type {Error} */ (error).message;
      }
      const settled = effect.value?.state === 'measured' || effect.value?.state === 'none';
      if (problem.value || !settled) timer = setTimeout(ask, ASK_AGAIN_MS);
    };
    ask();
    return () => {
      open = false;
      clearTimeout(timer);
    };
  }, [command.id]);
  // If it was opened by a link, it may be below the window.
  useEffect(() => card.current?.scrollIntoView({ block: 'nearest' }), [effect.value === null]);
  const found = effect.value;
  const notes = found ? effectNotes(found) : [];
  return html`<section class="effect" aria-label="Effect" ref=${card}>
    ${problem.value && html`<p class="bad">${problem.value}</p>`}
    ${found && html`<p class="muted" role="status">${effectText(found)}</p>`}
    ${!found && !problem.value && html`<${Loading} rows=${1} />`}
    ${found?.state === 'measured' && html`<${Figures} metrics=${found.metrics} />`}
    ${notes.map((note) => html`<p key=${note} class="muted">${note}</p>`)}
  </section>`;
}
