import assert from 'node:assert/strict';
import { test } from 'node:test';
import { combineLines } from '../../../web/js/charts/combined.js';
import { lineStyle } from '../../../web/js/charts/picture.js';
import { bucket, series } from '../frames.js';

const colors = { series: ['c0', 'c1', 'c2', 'c3'], tint: ['t0', 't1', 't2', 't3'] };
const line = (label, members = {}) => ({
  series: series([bucket(1, 1)]),
  label,
  superseded: false,
  ...lineStyle(colors, 0),
  ...members,
});

test('each series of a run has a color and is named', () => {
  const lines = combineLines([[line('rank 0')], [line('rank 0')]], ['loss', 'auc'], colors, false);
  assert.deepEqual(
    lines.map(({ label, color }) => [label, color]),
    [
      ['loss', 'c0'],
      ['auc', 'c1'],
    ],
  );
});

test('several ranks of a series are named, and ranks that lie apart are left out', () => {
  const groups = [
    [line('rank 0'), line('rank 1')],
    [line('median of 9 ranks', { band: true }), line('rank 7', { remark: 'odd' })],
  ];
  const lines = combineLines(groups, ['loss', 'auc'], colors, false);
  assert.deepEqual(
    lines.map(({ label }) => label),
    ['loss, rank 0', 'loss, rank 1', 'auc'],
  );
});

test('superseded points lie behind all others and keep their dashes', () => {
  const groups = [[line('rank 0')], [line('rank 0', { superseded: true, dash: [4, 3] }), line('rank 0')]];
  const lines = combineLines(groups, ['loss', 'auc'], colors, false);
  assert.deepEqual(
    lines.map(({ label, superseded }) => [label, superseded]),
    [
      ['auc', true],
      ['loss', false],
      ['auc', false],
    ],
  );
  assert.deepEqual(lines[0].dash, [4, 3]);
});

test('runs keep their colors, and the series of a run differ in their dashes', () => {
  const runs = () => [line('run a', lineStyle(colors, 1)), line('run b', lineStyle(colors, 2))];
  const lines = combineLines([runs(), runs()], ['loss', 'auc'], colors, true);
  assert.deepEqual(
    lines.map(({ label, color }) => [label, color]),
    [
      ['loss, run a', 'c1'],
      ['loss, run b', 'c2'],
      ['auc, run a', 'c1'],
      ['auc, run b', 'c2'],
    ],
  );
  assert.notDeepEqual(lines[0].dash, lines[2].dash);
});
