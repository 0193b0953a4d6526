// @ts-check
/** Standard output and error of a run's processes, and the lines that they report: live, filtered and searched. */
import { html, useEffect, useMemo, useRef, useSignal } from '../../../vendor/ui.js';
import { onValue, SearchField } from '../../components/inputs.js';
import { EmptyState, Loading } from '../../components/placeholders.js';
import { RankOptions } from '../../components/rank-select.js';
import { LineMatcher } from '../../data/line-matcher.js';
import { LogPart, markedParts, shownText } from '../../data/log-lines.js';
import { patternOf, patternProblem } from '../../data/match-lines.js';
import { setView, state } from '../../data/state.js';
import { formatInteger, pluralize } from '../../format/numbers.js';
import { LogView } from './log-view.js';

const UPDATE_MS = 1000;
const TYPING_MS = 300;
/** @type {readonly LogLine[]} */
const NONE = [];
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
  // The server searches for words; a regular expression is matched here, with the lines that are loaded.
  const words = patternOf(q) === null ? q : '';
  const filter = { q: words, stream: stream in STREAMS ? stream : '', rank: typeof rank === 'number' ? rank : null };
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
    // Nothing is requested for a page that is not visible.
    const next = () => {
      if (document.hidden) timer = setTimeout(next, UPDATE_MS);
      else load();
    };
    timer = setTimeout(load, known && !same ? TYPING_MS : 0);
    return () => {
      aborter.abort();
      clearTimeout(timer);
    };
  }, [run.id, words, filter.stream, filter.rank, hasEnded]);
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

/**
 * Return the lines that match the regular expression of the search, all lines when it is words, and their parts.
 * @param {readonly LogLine[]} lines
 */
function useMatches(lines) {
  const { q } = state.view.value;
  const pattern = patternOf(q);
  const invalid = pattern === null ? '' : patternProblem(pattern);
  const version = useSignal(0);
  const problem = useSignal('');
  const matcher = useMemo(() => (pattern === null || invalid ? null : new LineMatcher(pattern)), [pattern]);
  useEffect(() => () => matcher?.close(), [matcher]);
  useEffect(() => {
    let isCurrent = true;
    problem.value = '';
    matcher?.match(lines).then(
      () => {
        if (isCurrent) version.value += 1;
      },
      (error) => {
        if (isCurrent) problem.value = error.message;
      },
    );
    return () => {
      isCurrent = false;
    };
  }, [matcher, lines]);
  const shown = useMemo(() => matcher?.matching(lines) ?? lines, [matcher, lines, version.value]);
  const parts = (/** @type {LogLine} */ line) =>
    matcher?.parts.get(line) ?? markedParts(shownText(line.text), pattern === null ? q : '');
  return { shown, parts, isPattern: matcher !== null, problem: invalid || problem.value };
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

/** @param {{log: LogPart, matches: number | null}} props `matches` of a regular expression */
function Counts({ log: { lines, more, dropped, removed }, matches }) {
  const loaded = `${more ? 'newest ' : ''}${pluralize(lines.length, 'line')}`;
  const parts = [matches === null ? loaded : `${formatInteger(matches)} of the ${loaded}`];
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
  const { shown, parts, isPattern, problem: mismatch } = useMatches(log?.lines ?? NONE);
  if (!log) return problem ? html`<p class="alert error">${problem}</p>` : html`<${Loading} />`;
  return html`<div class="bar">
      <h2>Logs</h2>
      <${Counts} log=${log} matches=${isPattern ? shown.length : null} />
      <span class="grow" />
      ${log.more && html`<button onClick=${older}>Load older lines</button>`}
      <button aria-pressed=${follow.value} onClick=${toggle} title="Stay at the newest line">Follow</button>
      <${Filters} run=${run} />
      <${SearchField} label="Search logs, or /regex/" />
    </div>
    ${(mismatch || problem) && html`<p class="alert error" role="status">${mismatch || problem}</p>`}
    ${
      shown.length === 0
        ? html`<${NoLines} />`
        : html`<${LogView}
            lines=${shown}
            shift=${log.shift}
            parts=${parts}
            withRank=${run.ranks.length > 1}
            follow=${follow}
          />`
    }`;
}
