// @ts-check
/** The lines of a log in a scrolled region: only those on screen exist. Follows the end until the user scrolls up. */
import { html, useEffect, useLayoutEffect, useRef, useState } from '../../../vendor/ui.js';
import { formatDateTime } from '../../format/time.js';

/** As in the style sheet. */
const ROW_PX = 20;
const MARGIN_ROWS = 30;
const TIME_START = 11;

/** @param {{line: LogLine, parts: (line: LogLine) => string[], withRank: boolean}} props */
function Row({ line, parts, withRank }) {
  const { time, rank, attempt, stream, level, step } = line;
  const at = formatDateTime(time);
  const title = `${at} · rank ${rank} · attempt ${attempt}${step === null ? '' : ` · step ${step}`}`;
  const part = (/** @type {string} */ piece, /** @type {number} */ i) =>
    i % 2 ? html`<mark key=${i}>${piece}</mark>` : piece;
  return html`<li class=${`${stream} ${level}`} title=${title}>
    <time>${at.slice(TIME_START)}</time>
    ${withRank && html`<span class="rank">${rank}</span>`}
    <span class="mark">${stream === 'stderr' ? 'err' : ''}</span>
    <span class="said">${parts(line).map(part)}</span>
  </li>`;
}

/**
 * Return the lines that are on screen, with a margin.
 * @param {HTMLElement} box
 */
function visible(box) {
  const from = Math.max(0, Math.floor(box.scrollTop / ROW_PX) - MARGIN_ROWS);
  return { from, to: from + Math.ceil(box.clientHeight / ROW_PX) + 2 * MARGIN_ROWS };
}

/**
 * @typedef {object} LogViewProps
 * @property {readonly LogLine[]} lines
 * @property {number} shift by how many lines those known before have moved down
 * @property {(line: LogLine) => string[]} parts of its text: every second one is marked
 * @property {boolean} withRank
 * @property {Signal<boolean>} follow
 */

/** @param {LogViewProps} props */
export function LogView({ lines, shift, parts, withRank, follow }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const shifted = useRef(shift);
  const [{ from, to }, setRows] = useState({ from: 0, to: 3 * MARGIN_ROWS });
  const update = () => {
    const next = visible(/** @type {HTMLElement} */ (box.current));
    setRows((now) => (now.from === next.from && now.to === next.to ? now : next));
  };
  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = /** @type {HTMLElement} */ (box.current);
    follow.value = scrollHeight - scrollTop - clientHeight < 2 * ROW_PX;
    update();
  };
  useLayoutEffect(() => {
    const element = /** @type {HTMLElement} */ (box.current);
    if (follow.value) element.scrollTop = element.scrollHeight;
    else element.scrollTop += (shift - shifted.current) * ROW_PX;
    shifted.current = shift;
    update();
  }, [lines, shift, follow.value]);
  useEffect(() => {
    addEventListener('resize', update);
    return () => removeEventListener('resize', update);
  }, []);
  const shown = lines.slice(from, to);
  const widest = shown.reduce((most, { text }) => Math.max(most, text.length), 0);
  const size = {
    height: `${lines.length * ROW_PX}px`,
    paddingTop: `${Math.min(from, lines.length) * ROW_PX}px`,
    minWidth: `${widest + 24}ch`,
  };
  return html`<div class="log panel" role="region" aria-label="Output" tabindex="0" ref=${box} onScroll=${scrolled}>
    <ol style=${size}>
      ${shown.map((line) => html`<${Row} key=${line.id} line=${line} parts=${parts} withRank=${withRank} />`)}
    </ol>
  </div>`;
}
