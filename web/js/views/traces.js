// @ts-check
/** Profiler traces: capture now, the list, download. */
import { html, useSignal } from '../../vendor/ui.js';
import { bytes, duration, plural, short, whole } from '../format.js';
import { downloadHref } from '../links.js';
import { state } from '../state.js';
import { readValue } from '../value.js';
import { OutcomeLine } from './control.js';
import { Ago, Empty, Icon, Name, Waiting, taking } from './parts.js';

const MOST_STEPS = 100;
const MOST_OPERATORS = 10;

/** Asks the training for a capture at its next step. @param {{page: Page, run: Run, control: Control}} props */
function Capture({ page, run, control }) {
  const steps = useSignal('3');
  const rank = useSignal(String(run.ranks[0] ?? 0));
  const problem = useSignal('');
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const found = readValue({ ...control, name: 'steps', type: 'int', minimum: 1, maximum: MOST_STEPS, nullable: false }, steps.value);
    problem.value = found.ok ? '' : found.message;
    if (!found.ok) return;
    const ranks = rank.value === 'all' ? run.ranks : [Number(rank.value)];
    page.session.apply(control.name, { active: found.value, ranks });
  };
  return html`<form class="control wide" onSubmit=${submit} noValidate><div class="line">
      <label class="field">Steps <input class="short" inputmode="numeric" value=${steps} onInput=${taking((value) => (steps.value = value))} aria-invalid=${problem.value !== ''} /></label>
      ${run.ranks.length > 1 && html`<label class="field">Rank <select value=${rank} onChange=${taking((value) => (rank.value = value))}>
        ${run.ranks.map((r) => html`<option key=${r} value=${r}>${r}</option>`)}<option value="all">all</option></select></label>`}
      <button class="primary" disabled=${!state.mayControl.value}>Capture now</button>
      <span class="muted">Records these steps with torch.profiler, from the next step on.</span></div>
    <${OutcomeLine} name=${control.name} problem=${problem.value} page=${page} /></form>`;
}

/** What the server found in a trace: how long, and which operators took the time; or why it has found nothing. @param {{trace: Trace}} props */
function Digest({ trace: { state: file, summary, summary_state, summary_error } }) {
  if (file !== 'ready') return null;
  if (summary_state === 'pending') return html`<span class="sub">summary pending</span>`;
  if (!summary) return html`<span class="sub" title=${summary_error}>no summary: ${summary_error}</span>`;
  const operators = /** @type {{name: string, calls: number, self_ms: number, total_ms: number}[]} */ (summary.operators ?? []).slice(0, MOST_OPERATORS);
  const most = Math.max(...operators.map((one) => one.self_ms), 1e-9);
  const facts = `${plural(summary.steps ?? 0, 'step')} in ${duration(summary.wall_ms)}, ${short(summary.events)} events${summary.unreadable ? `, ${short(summary.unreadable)} unreadable` : ''}`;
  if (operators.length === 0) return html`<span class="sub">${facts}</span>`;
  return html`<details class="digest"><summary>${facts}, top operators</summary><table><thead><tr><th>Operator</th><th class="number">Calls</th><th class="number">Self</th><th class="number">Total</th></tr></thead>
    <tbody>${operators.map((one) => html`<tr key=${one.name}><td class="bar-cell"><i style=${{ width: `${(100 * one.self_ms) / most}%` }} /><${Name} text=${one.name} /></td>
      <td class="number">${whole(one.calls)}</td><td class="number">${duration(one.self_ms)}</td><td class="number">${duration(one.total_ms)}</td></tr>`)}</tbody></table></details>`;
}

/** @param {{trace: Trace}} props */
function Row({ trace }) {
  const ready = trace.state === 'ready';
  return html`<tr><td class="main"><${Name} text=${trace.name} /><${Digest} trace=${trace} />
      <span class="sub narrow-only">rank ${trace.rank} · step ${short(trace.step)} · ${bytes(trace.size)} · <${Ago} at=${trace.created_at} /></span></td>
    <td class="number wide-only">${trace.rank}</td><td class="number wide-only">${whole(trace.step)}</td><td class="number wide-only">${bytes(trace.size)}</td>
    <td class="number wide-only muted"><${Ago} at=${trace.created_at} /></td>
    <td class="fit">${ready ? html`<a class="button" href=${downloadHref(trace.id)} download=${trace.name} title=${`Download ${trace.name}`}><${Icon} shape="download" /> Download</a>` : html`<span class="muted">${trace.state}</span>`}</td></tr>`;
}

/** @param {{page: Page, run: Run}} props */
export function TracesTab({ page, run }) {
  if (state.load.value === 'loading') return html`<${Waiting} />`;
  const control = state.controls.value.find((c) => c.type === 'profile');
  const all = [...state.traces.value].sort((a, b) => b.step - a.step || a.rank - b.rank);
  return html`${control && html`<${Capture} page=${page} run=${run} control=${control} />`}
    ${all.length === 0
      ? html`<${Empty} title="No trace yet"><p>Each window of a <code>ProfilerHook</code> becomes one Chrome trace here, whole and byte for byte as the training wrote it.</p>
          <p><code>trainer.add_hook(ProfilerHook(wait=1, warmup=48, active=1, repeat=4))</code></p>
          <p>A trace opens in <code>chrome://tracing</code> and in Perfetto.</p><//>`
      : html`<div class="panel flush"><table class="grid"><thead><tr><th>Trace</th><th class="number wide-only">Rank</th><th class="number wide-only">Step</th><th class="number wide-only">Size</th><th class="number wide-only">Age</th><th><span class="unseen">File</span></th></tr></thead>
        <tbody>${all.map((trace) => html`<${Row} key=${trace.id} trace=${trace} />`)}</tbody></table></div>`}`;
}
