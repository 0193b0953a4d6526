import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventMarks, flowBars, lineStyle, rankLines } from '../../../web/js/charts/picture.js';
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

test('dashes tell lines of one color apart', () => {
  const styles = [0, 4, 8, 12].map((number) => lineStyle(colors, number).dash.join());
  assert.equal(new Set(styles).size, 4);
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
