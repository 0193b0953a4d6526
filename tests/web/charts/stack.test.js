import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rankSeries, stackLines } from '../../../web/js/charts/stack.js';
import { bucket, series } from '../frames.js';

const colors = { series: ['red', 'blue'], tint: ['pink', 'sky'] };
const values = (column) => [...column];

test('each layer lies on those before it, and is read by its own value', () => {
  const lists = [
    [series([bucket(0, 1), bucket(1, 2)], { key: 'time/forward_ms' })],
    [series([bucket(1, 10)], { key: 'time/filter_pass_ms' })],
    [series([bucket(0, 4), bucket(1, 5), bucket(2, 6)], { key: 'time/other_ms' })],
  ];
  const lines = stackLines(lists, colors, (key) => key.slice(5, -3));
  assert.deepEqual(
    lines.map(({ label, color }) => [label, color]),
    [
      ['forward', 'red'],
      ['filter_pass', 'blue'],
      ['other', 'red'],
    ],
  );
  assert.deepEqual(
    lines.map((line) => values(line.series.max)),
    [
      [1, 2, 0],
      [1, 12, 0],
      [5, 17, 6],
    ],
  );
  assert.deepEqual(values(lines[1].series.last), [0, 10, 0]);
});

test('what is reported at few steps of a bucket is spread over all of them', () => {
  const often = series([bucket(0, 2, { count: 100 }), bucket(100, 2, { count: 50 })]);
  const seldom = series([bucket(0, 40, { count: 1 }), bucket(100, 40, { count: 5, nan: 1 })]);
  const lines = stackLines([[often], [seldom]], colors, String);
  assert.deepEqual(values(lines[1].series.last), [0.4, 3.2]);
  assert.deepEqual(values(lines[1].series.max), [2.4, 5.2]);
});

test('a stack shows the summary of all ranks, else one rank; superseded points and empty keys have no layer', () => {
  const [all, two, three] = [-1, 2, 3].map((rank) => series([bucket(0, rank + 1)], { rank }));
  const old = series([bucket(0, 9)], { rank: 0, superseded: true });
  assert.equal(rankSeries([three, two, all]), all);
  assert.equal(rankSeries([old, three, two]), two);
  assert.equal(rankSeries([series([]), old]), undefined);
  assert.deepEqual(stackLines([[], [old]], colors, String), []);
  assert.equal(stackLines([[], [two]], colors, String).length, 1);
});
