// @ts-check
/** Standard output and error of a run's processes, and the lines that they report: live, filtered and searched. */
import { html, useEffect, useRef, useSignal } from '../../../vendor/ui.js';
import { onValue, RankOptions, SearchField } from '../../components/inputs.js';
import { EmptyState, Loading } from '../../components/placeholders.js';
import { LogPart } from '../../data/log-lines.js';
import { setView, state } from '../../data/state.js';
import { formatInteger, pluralize } from '../../format/numbers.js';
import { LogView } from './log-view.js';

const UPDATE_MS = 1000;
const TYPING_MS = 300;
const STREAMS = { '': 'all', stdout: 'output', stderr: 'errors', reported: 'reported' };

/**
 * Load the part of the log that the view shows, and what arrives.
 * @param {App} app
 * @param {Run} run
 */
function useLog(app, run) {
  const { q, stream, rank } = state.view.value;
  const part = useRef(/** @type {LogPart | null} */ (null));
  const version = useSignal(0);
  const problem = useSignal('');
  const filter = { q, stream: stream in STREAMS ? stream : '', rank: typeof rank === 'number' ? rank : null };
  const hasEnded = run.state === 'finished' || run.state === 'failed';
  useEffect(() => {
    const aborter = new AbortController();
    const known = part.current;
    const same = known && known.run === run.id && JSON.stringify(known.filter) === JSON.stringify(filter);
    const log = same ? known : new LogPart(app.api, run.id, filter);
    let timer = 0;
    const load = async () => {
      try {
        if ((await log.update(aborter.signal)) || problem.value) version.value += 1;
        part.current = log;
        problem.value = '';
      } catch (error) {
        if (aborter.signal.aborted) return;
        problem.value = /** @type {Error} */ (error).message;
      }
      if (!hasEnded) timer = setTimeout(next, UPDATE_MS);
    };
    // Nothing is asked for a page that nobody sees.
    const next = () => {
      if (document.hidden) timer = setTimeout(next, UPDATE_MS);
      else load();
    };
    timer = setTimeout(load, known && !same ? TYPING_MS : 0);
    return () => {
      aborter.abort();
      clearTimeout(timer);
    };
  }, [run.id, q, filter.stream, filter.rank, hasEnded]);
  const older = async () => {
    try {
      await part.current?.older();
    } catch (error) {
      problem.value = /** @type {Error} */ (error).message;
    }
    version.value += 1;
  };
  return { log: part.current, version: version.value, problem: problem.value, older };
}

/** @param {{run: Run}} props */
function Filters({ run: { ranks } }) {
  const { stream, rank } = state.view.value;
  const setStream = onValue((value) => setView({ stream: value }));
  const setRank = onValue((value) => setView({ rank: value === 'all' ? 'all' : Number(value) }));
  const shown = typeof rank === 'number' ? rank : 'all';
  return html`<label class="field">
      Stream
      <select value=${stream in STREAMS ? stream : ''} onChange=${setStream}>
        ${Object.entries(STREAMS).map(([name, label]) => html`<option key=${name} value=${name}>${label}</option>`)}
      </select>
    </label>
    ${
      ranks.length > 1 &&
      html`<label class="field">
        Rank
        <select value=${String(shown)} onChange=${setRank}><${RankOptions} ranks=${ranks} /></select>
      </label>`
    }`;
}

/** @param {{log: LogPart}} props */
function Counts({ log: { lines, more, dropped, removed } }) {
  const parts = [`${more ? 'newest ' : ''}${pluralize(lines.length, 'line')}`];
  if (dropped) parts.push(`${formatInteger(dropped)} dropped by the process, which printed faster than is kept`);
  if (removed) parts.push(`${formatInteger(removed)} oldest removed`);
  return html`<span class="muted" role="status">${parts.join(' · ')}</span>`;
}

function NoLines() {
  const { q, stream } = state.view.value;
  const showAll = () => setView({ q: '', stream: '', rank: null });
  if (q || stream) {
    return html`<${EmptyState} title="No matching lines">
      <p><button onClick=${showAll}>Show all lines</button></p>
    <//>`;
  }
  return html`<${EmptyState} title="No output yet">
    <p>What the training prints to standard output and error appears here, if it collects <code>console</code>.</p>
  <//>`;
}

/** @param {{app: App, run: Run}} props */
export function LogsTab({ app, run }) {
  const { log, problem, older } = useLog(app, run);
  const follow = useSignal(true);
  const toggle = () => {
    follow.value = !follow.value;
  };
  if (!log) return problem ? html`<p class="alert error">${problem}</p>` : html`<${Loading} />`;
  return html`<div class="bar">
      <h2>Logs</h2>
      <${Counts} log=${log} />
      <span class="grow" />
      ${log.more && html`<button onClick=${older}>Load older lines</button>`}
      <button aria-pressed=${follow.value} onClick=${toggle} title="Stay at the newest line">Follow</button>
      <${Filters} run=${run} />
      <${SearchField} label="Search logs" />
    </div>
    ${problem && html`<p class="alert error" role="status">${problem}</p>`}
    ${
      log.lines.length === 0
        ? html`<${NoLines} />`
        : html`<${LogView}
            lines=${log.lines}
            shift=${log.shift}
            search=${state.view.value.q}
            withRank=${run.ranks.length > 1}
            follow=${follow}
          />`
    }`;
}
