// @ts-check
/** Requests a profiler trace of the next steps. */
import { html, useSignal } from '../../../vendor/ui.js';
import { ControlOutcome } from '../../components/control-outcome.js';
import { onValue } from '../../components/inputs.js';
import { RankOptions } from '../../components/rank-select.js';
import { parseValue } from '../../controls/value.js';
import { Commands } from '../../data/commands.js';
import { state } from '../../data/state.js';

const MAX_STEPS = 100;

/** @param {{app: App, run: Run, control: Control}} props */
export function CaptureForm({ app, run, control }) {
  const steps = useSignal('3');
  const rank = useSignal(String(run.ranks[0] ?? 0));
  const problem = useSignal('');
  const setSteps = onValue((value) => {
    steps.value = value;
  });
  const setRank = onValue((value) => {
    rank.value = value;
  });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const field = { ...control, name: 'steps', type: 'int', minimum: 1, maximum: MAX_STEPS, nullable: false };
    const parsed = parseValue(field, steps.value);
    problem.value = parsed.ok ? '' : parsed.message;
    if (!parsed.ok) return;
    const ranks = rank.value === 'all' ? run.ranks : [Number(rank.value)];
    new Commands(app.api).apply(control.name, { active: parsed.value, ranks });
  };
  const invalid = problem.value !== '';
  return html`<form class="control wide" onSubmit=${submit} noValidate>
    <div class="line">
      <label class="field">
        Steps
        <input class="short" inputmode="numeric" value=${steps} onInput=${setSteps} aria-invalid=${invalid} />
      </label>
      ${
        run.ranks.length > 1 &&
        html`<label class="field">
          Rank
          <select value=${rank} onChange=${setRank}><${RankOptions} ranks=${run.ranks} /></select>
        </label>`
      }
      <button class="primary" disabled=${!state.canControl.value}>Capture now</button>
      <span class="muted">Records this many steps with torch.profiler, starting with the next step.</span>
    </div>
    <${ControlOutcome} control=${control} problem=${problem.value} app=${app} />
  </form>`;
}
