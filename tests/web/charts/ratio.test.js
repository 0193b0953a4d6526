import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ratioLines } from '../../../web/js/charts/ratio.js';
import { bucket, series } from '../frames.js';

const line = (label, rows, members = {}) => ({ label, series: series(rows), superseded: false, ...members });
const means = ({ series: { mean, n } }) => [...mean.subarray(0, n)];

test('lines are divided by the reference at the same step, which comes last', () => {
  const base = line('base', [bucket(0, 2), bucket(10, 4), bucket(20, 0)]);
  const other = line('other', [bucket(0, 1), bucket(5, 6), bucket(20, 1), bucket(30, 1)]);
  const [first, last] = ratioLines([base, other], [base], 'step');
  assert.deepEqual([first.label, last.label], ['other', 'base']);
  assert.deepEqual(means(first), [0.5, 2, Number.NaN, Number.NaN], 'in between, at 0, and after its end');
  assert.deepEqual(means(last), [1, 1, Number.NaN]);
  assert.deepEqual([first.series.key, first.series.count[0], first.series.last[1]], ['ratio', 1, 2]);
});

test('runs are aligned at their start or step by step, and superseded points left out', () => {
  const base = line('base', [bucket(0, 2), bucket(10, 4)]);
  const late = line('late', [bucket(100, 1), bucket(110, 1)]);
  base.series.origin = 0;
  late.series.origin = 10; // bucket(100) has the time 10
  assert.deepEqual(means(ratioLines([base, late], [base], 'relative')[0]), [0.5, 0.25]);
  assert.deepEqual(means(ratioLines([base, late], [base], 'time')[0]), [Number.NaN, Number.NaN]);
  const old = line('old', [bucket(0, 9)], { superseded: true });
  assert.equal(ratioLines([old, base], [old, base], 'step').length, 1);
  assert.deepEqual(ratioLines([old], [old], 'step'), []);
});
