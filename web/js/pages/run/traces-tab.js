// @ts-check
/** The profiler traces of a run: capture, list and download. */
import { html } from '../../../vendor/ui.js';
import { Icon } from '../../components/icons.js';
import { EmptyState, Loading } from '../../components/placeholders.js';
import { Age, Name } from '../../components/text.js';
import { state } from '../../data/state.js';
import { formatCompact, formatInteger } from '../../format/numbers.js';
import { formatBytes } from '../../format/units.js';
import { downloadHref } from '../../routing/links.js';
import { CaptureForm } from './capture-form.js';
import { TraceSummary } from './trace-summary.js';

/** @param {{trace: Trace}} props */
function DownloadLink({ trace: { id, name, state: fileState } }) {
  if (fileState !== 'ready') return html`<span class="muted">${fileState}</span>`;
  return html`<a class="button" href=${downloadHref(id)} download=${name} title=${`Download ${name}`}>
    <${Icon} shape="download" /> Download
  </a>`;
}

/** @param {{trace: Trace}} props */
function Row({ trace }) {
  const { name, rank, step, size, created_at } = trace;
  return html`<tr>
    <td class="main">
      <${Name} text=${name} />
      <${TraceSummary} trace=${trace} />
      <span class="sub narrow-only">
        rank ${rank} · step ${formatCompact(step)} · ${formatBytes(size)} · <${Age} time=${created_at} />
      </span>
    </td>
    <td class="number wide-only">${rank}</td>
    <td class="number wide-only">${formatInteger(step)}</td>
    <td class="number wide-only">${formatBytes(size)}</td>
    <td class="number wide-only muted"><${Age} time=${created_at} /></td>
    <td class="fit"><${DownloadLink} trace=${trace} /></td>
  </tr>`;
}

/** @param {{traces: Trace[]}} props */
function TraceList({ traces }) {
  return html`<div class="panel flush">
    <table class="grid">
      <thead>
        <tr>
          <th>Trace</th>
          <th class="number wide-only">Rank</th>
          <th class="number wide-only">Step</th>
          <th class="number wide-only">Size</th>
          <th class="number wide-only">Age</th>
          <th><span class="visually-hidden">File</span></th>
        </tr>
      </thead>
      <tbody>${traces.map((trace) => html`<${Row} key=${trace.id} trace=${trace} />`)}</tbody>
    </table>
  </div>`;
}

function NoTraces() {
  return html`<${EmptyState} title="No traces yet">
    <p>
      Each window of a <code>ProfilerHook</code> appears here as a Chrome trace, byte for byte as the training process
      wrote it. To add one to the trainer:
    </p>
    <p><code>trainer.add_hook(ProfilerHook(wait=1, warmup=48, active=1, repeat=4))</code></p>
    <p>Open traces in <code>chrome://tracing</code> or in Perfetto.</p>
  <//>`;
}

/** @param {{app: App, run: Run}} props */
export function TracesTab({ app, run }) {
  if (state.load.value === 'loading') return html`<${Loading} />`;
  const control = state.controls.value.find((known) => known.type === 'profile');
  const traces = [...state.traces.value].sort((a, b) => b.step - a.step || a.rank - b.rank);
  return html`
    ${control && html`<${CaptureForm} app=${app} run=${run} control=${control} />`}
    ${traces.length ? html`<${TraceList} traces=${traces} />` : html`<${NoTraces} />`}
  `;
}
