import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  axisColumn,
  bucketSum,
  currentSeries,
  lastValue,
  mergeDelta,
  nearestIndex,
  nonFiniteCount,
  smooth,
  stepExtent,
  sumSeries,
  supersededCount,
  xExtent,
} from '../../../web/js/data/series.js';
import { bucket, series } from '../frames.js';

const used = (held, column) => [...held[column].subarray(0, held.n)];

test('a delta replaces buckets with the same x, appends new ones and inserts late ones', () => {
  const held = series([bucket(0, 1), bucket(4, 2)]);
  mergeDelta(held, series([bucket(2, 7), bucket(4, 9), bucket(6, 3)]));
  assert.deepEqual(used(held, 'x'), [0, 2, 4, 6]);
  assert.deepEqual(used(held, 'mean'), [1, 7, 9, 3]);
});

test('many deltas equal one snapshot', () => {
  const held = series([]);
  for (let i = 0; i < 1000; i++) mergeDelta(held, series([bucket(i, i % 7)]));
  assert.equal(held.n, 1000);
  assert.ok(used(held, 'x').every((x, i) => x === i));
});

test('superseded points count as such and nowhere else', () => {
  const superseded = series([bucket(1, 90), bucket(2, 91, { nan: 1, count: 2 })], { superseded: true });
  const list = [superseded, series([bucket(0, 1), bucket(2, 3)])];
  assert.deepEqual(currentSeries(list), [list[1]]);
  assert.equal(supersededCount(list), 3);
  assert.equal(nonFiniteCount(list), 0);
  assert.equal(lastValue(list), 3);
  assert.deepEqual([...sumSeries(list).mean], [1, 3]);
  assert.equal(sumSeries([superseded]), null);
});

test('the last value of nothing is null', () => {
  assert.equal(lastValue([]), null);
  assert.equal(lastValue([series([])]), null);
});

test('non-finite values are counted', () => {
  const rows = [bucket(0, Number.NaN, { count: 3, nan: 2 }), bucket(1, 1)];
  assert.equal(nonFiniteCount([series(rows)]), 2);
  assert.equal(bucketSum(series(rows), 0), 0);
});

test('smoothing starts at the first value, keeps a constant and skips NaN', () => {
  const constant = [...smooth(Float64Array.of(3, 3, 3), 3, 0.9)].map((value) => Number(value.toFixed(12)));
  assert.deepEqual(constant, [3, 3, 3]);
  const [first, second, third] = smooth(Float64Array.of(1, Number.NaN, 5), 3, 0.5);
  assert.equal(first, 1);
  assert.ok(Number.isNaN(second));
  assert.ok(third > 1 && third < 5);
});

test('the nearest of some values', () => {
  const xs = [0, 10, 20];
  const nearest = [-5, 4, 6, 15, 99].map((x) => nearestIndex(xs, 3, x));
  assert.deepEqual(nearest, [0, 0, 1, 1, 2]);
  assert.equal(nearestIndex(xs, 0, 1), -1);
});

test('the extent covers the whole last bucket', () => {
  const held = series([bucket(0, 1), bucket(8, 1)], {}, { width: 8 });
  assert.deepEqual(xExtent([held], 'step'), [0, 15]);
  assert.deepEqual(xExtent([held], 'time'), [0, 0.8]);
  assert.equal(xExtent([], 'step'), null);
});

test('the steps between two times are those of all series', () => {
  const fast = series([bucket(0, 1), bucket(10, 1), bucket(20, 1)]);
  const slow = { ...series([bucket(100, 1), bucket(200, 1)]), time: Float64Array.of(0.5, 1.5) };
  assert.deepEqual(stepExtent([fast, slow], 'time', 0.9, 1.6), [10, 200]);
  assert.deepEqual(stepExtent([fast], 'time', 0.9, 1.6), [10, 20]);
  assert.equal(stepExtent([fast], 'time', 5, 6), null);
});

test('ranks add up bucket by bucket', () => {
  const sum = sumSeries([series([bucket(0, 2, { count: 3 }), bucket(4, 1)]), series([bucket(4, 5)])]);
  assert.deepEqual([...sum.x], [0, 4]);
  assert.deepEqual([...sum.mean], [6, 6]);
  assert.equal(sumSeries([]), null);
});

test('times count from the creation of the run on a relative axis', () => {
  const held = { ...series([bucket(1050, 1), bucket(1070, 1)]), origin: 100 };
  assert.deepEqual(
    ['step', 'time', 'relative'].map((axis) => [...axisColumn(held, axis)]),
    [
      [1050, 1070],
      [105, 107],
      [5, 7],
    ],
  );
  assert.deepEqual(xExtent([held], 'relative'), [5, 7]);
  assert.deepEqual(stepExtent([held], 'relative', 4, 6), [1050, 1070]);
  const other = { ...series([bucket(9030, 1)]), origin: 900 };
  assert.deepEqual(xExtent([held, other], 'relative'), [3, 7]);
});
