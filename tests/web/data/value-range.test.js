import assert from 'node:assert/strict';
import { test } from 'node:test';
import { robustRange, valueRange } from '../../../web/js/data/value-range.js';
import { bucket, series } from '../frames.js';

test('the range of values has the extremes, not the means', () => {
  const held = series([bucket(0, 1, { min: 0.5, max: 40 }), bucket(8, 2)]);
  assert.deepEqual(valueRange([held], 0, 8, false), [0.5, 40]);
  assert.deepEqual(valueRange([series([bucket(0, 1, { min: -2 })])], 0, 8, true), [1, 1]);
  assert.equal(valueRange([series([bucket(0, Number.NaN)])], 0, 8, false), null);
});

test('outliers do not enter a robust range, which never exceeds the values', () => {
  const rows = Array.from({ length: 300 }, (_, i) => bucket(i, i === 7 ? -900 : i % 10));
  const [low, high] = robustRange([series(rows)], 0, 300, false);
  assert.ok(low > -10 && low <= 0);
  assert.equal(high, 9);
  assert.deepEqual(robustRange([series([bucket(0, 5), bucket(1, 5)])], 0, 9, false), [5, 5]);
  assert.equal(robustRange([series([])], 0, 9, false), null);
});
