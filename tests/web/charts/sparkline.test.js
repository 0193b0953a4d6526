import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sparklinePaths } from '../../../web/js/charts/sparkline.js';

/** A series of buckets, whose extremes are the mean unless given. */
const series = (mean, { min = mean, max = mean } = {}) => ({
  ...{ n: mean.length, x: mean.map((_, i) => 10 * i), width: 10 },
  ...{ mean, min, max },
});

test('a line reaches from the smallest to the largest value', () => {
  assert.deepEqual(sparklinePaths(series([0, 10, 5])), { line: 'M2.0 22.0L56.0 2.0L110.0 12.0', band: '' });
});

test('extremes are bars, and count for the scale', () => {
  const { line, band } = sparklinePaths(series([5, 5], { min: [0, 5], max: [10, 5] }));
  assert.equal(line, 'M2.0 12.0L110.0 12.0');
  assert.equal(band, 'M2.0 22.0V2.0');
});

test('a constant is in the middle, and what is not finite is a gap', () => {
  assert.equal(sparklinePaths(series([3, 3])).line, 'M2.0 12.0L110.0 12.0');
  assert.equal(sparklinePaths(series([0, Number.NaN, 10, 10])).line, 'M2.0 22.0M74.0 2.0L110.0 2.0');
});

test('there is nothing to draw without two points', () => {
  assert.deepEqual(sparklinePaths(undefined), { line: '', band: '' });
  assert.deepEqual(sparklinePaths(series([1])), { line: '', band: '' });
});
