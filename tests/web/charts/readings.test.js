import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EMPTY_PICTURE } from '../../../web/js/charts/picture.js';
import { neighborX, readLines } from '../../../web/js/charts/readings.js';
import { bucket, series } from '../frames.js';

const line = (label, rows, members = {}) => ({
  label,
  color: label,
  superseded: false,
  series: series(rows),
  ...members,
});
const picture = (lines, axis = 'step') => ({ ...EMPTY_PICTURE, axis, lines });

test('the crosshair reads current lines, highest first', () => {
  const lines = [
    line('old', [bucket(1, 90)], { superseded: true }),
    line('low', [bucket(0, 1), bucket(10, 2)]),
    line('high', [bucket(10, 5, { min: 4, max: 6, count: 2 })]),
    line('empty', []),
  ];
  const readings = readLines(picture(lines), 9).map(({ label, x, value, max }) => `${label} ${x} ${value} ${max}`);
  assert.deepEqual(readings, ['high 10 5 6', 'low 10 2 2']);
});

test('the crosshair moves by buckets and stays within the data', () => {
  const shown = picture([line('a', [bucket(0, 1), bucket(10, 2), bucket(20, 3)])]);
  assert.deepEqual([neighborX(shown, null, -1), neighborX(shown, 20, -1), neighborX(shown, 0, -1)], [20, 10, 0]);
  assert.equal(neighborX(shown, 20, 10), 20);
  assert.equal(neighborX(picture([]), null, 1), null);
});
