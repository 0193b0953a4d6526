// @ts-check
/** What the processes of a run say about themselves: program, machine, versions, configuration, packages. */
import { html, useEffect, useSignal } from '../../../vendor/ui.js';
import { onValue, SearchField } from '../../components/inputs.js';
import { EmptyState, Loading } from '../../components/placeholders.js';
import { CopyLine } from '../../components/text.js';
import { configFacts, devicesText, processFacts, searchFacts, valueText } from '../../data/process-info.js';
import { state } from '../../data/state.js';
import { pluralize } from '../../format/numbers.js';
import { epochSeconds, formatDateTime } from '../../format/time.js';
import { RunNotes } from './run-notes.js';

/** What a process reads last comes some seconds after its start. */
const AGAIN_MS = 3000;
const MAX_REQUESTS = 10;

/** @typedef {import('../../data/process-info.js').Fact} Fact */

/**
 * Load what the processes of an attempt say, again while it is not complete.
 * @param {App} app
 * @param {Run} run
 * @param {number | null} attempt the latest when null
 */
function useInfo(app, run, attempt) {
  const answer = useSignal(/** @type {InfoAnswer | null} */ (null));
  const problem = useSignal('');
  useEffect(() => {
    const aborter = new AbortController();
    let timer = 0;
    const load = async (/** @type {number} */ left) => {
      try {
        const found = await app.api.info(run.id, attempt, aborter.signal);
        answer.value = found;
        problem.value = '';
        if (left > 1 && !found.ranks[0]?.info.packages) timer = setTimeout(load, AGAIN_MS, left - 1);
      } catch (error) {
        if (!aborter.signal.aborted) problem.value = /** @type {Error} */ (error).message;
      }
    };
    load(run.state === 'running' ? MAX_REQUESTS : 1);
    return () => {
      aborter.abort();
      clearTimeout(timer);
    };
  }, [run.id, attempt, run.attempts, run.ranks.length, state.connection.value.up]);
  return { answer: answer.value, problem: problem.value };
}

/** @param {{title: string, facts: readonly Fact[], total?: number, open?: boolean}} props */
function Facts({ title, facts, total, open = true }) {
  if (facts.length === 0) return null;
  const row = (/** @type {Fact} */ [label, text]) => html`<tr key=${label}>
    <th scope="row">${label}</th>
    <td>${text}</td>
  </tr>`;
  return html`<details class="section facts" open=${open}>
    <summary><h2>${title}</h2>${total !== undefined && html`<span class="muted">${total}</span>`}</summary>
    <div class="panel flush">
      <table class="grid dense" aria-label=${title}><tbody>${facts.map(row)}</tbody></table>
    </div>
  </details>`;
}

/** @param {{ranks: RankProcess[]}} props */
function Processes({ ranks }) {
  if (ranks.length < 2) return null;
  const row = (/** @type {RankProcess} */ { rank, host, pid, started_at, info }) => html`<tr key=${rank}>
    <td class="number">${rank}</td>
    <td>${host}</td>
    <td class="number wide-only">${pid || '–'}</td>
    <td>${devicesText(info.devices) || '–'}</td>
    <td class="fit wide-only">${formatDateTime(epochSeconds(started_at))}</td>
  </tr>`;
  return html`<details class="section facts" open>
    <summary><h2>Ranks</h2><span class="muted">${ranks.length}</span></summary>
    <div class="panel flush">
      <table class="grid dense" aria-label="Ranks">
        <thead>
          <tr>
            <th class="number">Rank</th>
            <th>Host</th>
            <th class="number wide-only">Process</th>
            <th>Devices</th>
            <th class="wide-only">Started</th>
          </tr>
        </thead>
        <tbody>${ranks.map(row)}</tbody>
      </table>
    </div>
  </details>`;
}

/** @param {{answer: InfoAnswer, chosen: {value: number | null}}} props */
function AttemptSelect({ answer: { attempt, attempts }, chosen }) {
  if (attempts.length < 2) return null;
  const choose = onValue((text) => {
    chosen.value = Number(text);
  });
  const option = (/** @type {InfoAnswer['attempts'][0]} */ one) => html`<option key=${one.attempt} value=${one.attempt}>
    ${one.attempt} · ${formatDateTime(epochSeconds(one.started_at))}
  </option>`;
  return html`<label class="field">
    Attempt
    <select value=${attempt} onChange=${choose}>${attempts.map(option)}</select>
  </label>`;
}

/** @param {{run: Run, answer: InfoAnswer}} props */
function Sections({ run, answer }) {
  const { q } = state.view.value;
  const process = answer.ranks.find(({ info }) => info.command) ?? answer.ranks[0];
  const { environment = {}, packages = {}, command } = process?.info ?? {};
  const variables = Object.entries(environment).map(
    ([name, value]) => /** @type {Fact} */ ([name, value ?? 'not shown']),
  );
  const lists = /** @type {const} */ ([
    ['Configuration', configFacts(run.config), true],
    ['Environment', variables, q !== ''],
    [
      'Packages',
      Object.entries(packages).map(([name, text]) => /** @type {Fact} */ ([name, valueText(text)])),
      q !== '',
    ],
  ]);
  const groups = process ? processFacts(process) : [];
  const found = [
    ...groups.map(({ title, facts }) => html`<${Facts} key=${title} title=${title} facts=${searchFacts(facts, q)} />`),
    ...lists.map(([title, facts, open]) => {
      const shown = searchFacts(facts, q);
      return html`<${Facts} key=${title} title=${title} total=${facts.length} facts=${shown} open=${open} />`;
    }),
  ];
  return html`${command && html`<div class="command"><${CopyLine} text=${command} /></div>`}
    <${Processes} ranks=${answer.ranks} />
    <div class="fact-groups">${found}</div>
    ${
      process &&
      Object.keys(process.info).length === 0 &&
      html`<${EmptyState} title="The process says nothing about itself">
        <p>It runs with <code>collect</code> switched off for <code>info</code>, or an older client.</p>
      <//>`
    }`;
}

/** @param {{app: App, run: Run}} props */
export function InfoTab({ app, run }) {
  const chosen = useSignal(/** @type {number | null} */ (null));
  const { answer, problem } = useInfo(app, run, chosen.value);
  if (!answer && problem) return html`<${EmptyState} title="The info could not be loaded"><p>${problem}</p><//>`;
  if (!answer) return html`<${Loading} />`;
  return html`<div class="bar">
      <h2>Info</h2>
      <span class="muted">${pluralize(answer.ranks.length, 'process', 'processes')}</span>
      <span class="grow" />
      <${AttemptSelect} answer=${answer} chosen=${chosen} />
      <${SearchField} label="Search info" />
    </div>
    <${RunNotes} app=${app} run=${run} />
    <${Sections} run=${run} answer=${answer} />`;
}
