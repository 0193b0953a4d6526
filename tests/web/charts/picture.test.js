import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  eventMarks,
  flowBars,
  lineStyle,
  pauseReason,
  rankLines,
  summaryLines,
  withGaps,
} from '../../../web/js/charts/picture.js';
import { bucket, series } from '../frames.js';

const colors = { series: ['red', 'blue'], tint: ['pink', 'sky'], bad: 'bad', warn: 'warn', mark: 'mark' };

test('superseded points are drawn first, dashed, in the color of their rank', () => {
  const list = [series([bucket(1, 900)], { superseded: true }), series([bucket(0, 1), bucket(1, 2)])];
  const [behind, line] = rankLines(list, colors);
  assert.deepEqual([behind.superseded, behind.color, line.superseded, line.color], [true, 'red', false, 'red']);
  assert.deepEqual(line.dash, []);
  assert.ok(behind.dash.length > 0);
});

test('each rank has a color and a name of its own, unless a label is given', () => {
  const list = [series([], { rank: 3 }), series([], { rank: 0 })];
  const shown = rankLines(list, colors).map(({ label, color }) => `${label} ${color}`);
  assert.deepEqual(shown, ['rank 3 blue', 'rank 0 red']);
  assert.deepEqual(
    rankLines(list, colors, 'deepfm').map(({ label }) => label),
    ['deepfm', 'deepfm'],
  );
});

const summary = (key, high, low) => [
  series([bucket(0, 10), bucket(1, 10)], { key, rank: null }),
  series([bucket(0, low), bucket(1, low)], { key, rank: 5 }),
  series([bucket(0, high), bucket(1, high)], { key, rank: 37 }),
];
const remarks = (list) => summaryLines(list, colors, 64).map(({ label, remark }) => `${label} ${remark}`);

test('a summary is the median with its band, and names the ranks that lie apart', () => {
  assert.deepEqual(remarks(summary('loss', 12, 9)), [
    'median of 64 ranks undefined',
    'rank 37 highest',
    'rank 5 lowest',
  ]);
  assert.deepEqual(remarks(summary('loss', 20, 9)).slice(1), ['rank 37 odd', 'rank 5 lowest']);
  assert.deepEqual(remarks(summary('lr', 10, 10)).slice(1), [], 'no rank lies apart');
  assert.deepEqual(remarks(summary('loss', 11, 2)).slice(1), ['rank 37 highest', 'rank 5 odd']);
  const [median] = summaryLines(summary('loss', 12, 9), colors, 64);
  assert.deepEqual([median.band, median.color], [true, 'red']);
});

test('more time or less speed is slow', () => {
  assert.deepEqual(remarks(summary('step_ms', 20, 9)).slice(1), ['rank 37 slowest', 'rank 5 fastest']);
  assert.deepEqual(remarks(summary('samples_per_second', 11, 9)).slice(1), ['rank 37 fastest', 'rank 5 slowest']);
});

test('without a summary there is a line per rank', () => {
  const list = [series([bucket(0, 1)], { rank: 2 })];
  assert.deepEqual(remarks(list), ['rank 2 undefined']);
});

test('color and dash tell 32 lines apart', () => {
  const eight = { series: ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'], tint: [] };
  const styles = Array.from({ length: 32 }, (_, number) => lineStyle(eight, number));
  assert.equal(new Set(styles.map(({ color, dash }) => `${color} ${dash}`)).size, 32);
});

test('a pause interrupts a line on the time axis only', () => {
  const rows = [...Array(10).keys()].map((i) => bucket(i < 5 ? i * 10 : i * 10 + 3000, 1));
  const lines = rankLines([series(rows)], colors);
  assert.deepEqual(withGaps(lines, 'step').pauses, []);
  const { lines: interrupted, pauses } = withGaps(lines, 'time');
  assert.deepEqual(interrupted[0].gaps, [5]);
  assert.deepEqual(pauses, [[4, 305]]);
  const begun = (origin) => rankLines([{ ...series(rows), origin }], colors);
  assert.deepEqual(withGaps(begun(3), 'relative').pauses, [[1, 302]]);
  assert.deepEqual(withGaps([...begun(3), ...begun(4)], 'relative').pauses, [], 'runs that began at different times');
});

test('a pause has the reason of the event that tells most', () => {
  const events = [
    { kind: 'note', level: 'info', time: 12, text: 'nothing' },
    { kind: 'alert', level: 'warning', time: 13, text: 'slow' },
    { kind: 'disconnected', level: 'warning', time: 14, text: 'rank 0 lost its connection' },
    { kind: 'attempt', level: 'info', time: 90, text: 'started again' },
  ];
  assert.equal(pauseReason([10, 20], events), 'rank 0 lost its connection');
  assert.equal(pauseReason([12.5, 13.5], events), 'slow');
  assert.equal(pauseReason([80, 100], events), 'started again');
  assert.equal(pauseReason([11, 12.5], events), '');
});

test('bars are those of series with data', () => {
  const bars = flowBars([series([bucket(0, 5)])], [], colors);
  assert.deepEqual(
    bars.map(({ label }) => label),
    ['admitted'],
  );
});

test('events are marked at their step or time, in order and by their level', () => {
  const events = [
    { kind: 'alert', level: 'error', step: 9, time: 90, text: 'x'.repeat(50) },
    { kind: 'control', level: 'info', step: 3, time: 30, text: 'interval' },
    { kind: 'lost', level: 'warning', step: null, time: 60, text: 'lost' },
  ];
  const bySteps = eventMarks(events, 'step', colors).map(({ x, color, dash }) => `${x} ${color} ${dash}`);
  assert.deepEqual(bySteps, ['3 mark false', '9 bad true']);
  const byTime = eventMarks(events, 'time', colors);
  assert.deepEqual(
    byTime.map(({ x }) => x),
    [30, 60, 90],
  );
  assert.equal(byTime[2].label.length, 32);
});
