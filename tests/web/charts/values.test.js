import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EMPTY_PICTURE } from '../../../web/js/charts/picture.js';
import { csvText, valueTable } from '../../../web/js/charts/values.js';
import { bucket, series } from '../frames.js';

const line = (label, rows, members = {}) => ({ label, superseded: false, series: series(rows), ...members });
const table = (...lines) => valueTable({ ...EMPTY_PICTURE, lines });

test('lines are joined at their steps, and a line without a value there has none', () => {
  const { columns, rows } = table(
    line('loss', [bucket(1, 0.5), bucket(3, 0.4)]),
    line('auc', [bucket(2, 0.7), bucket(3, 0.8)]),
    line('old', [bucket(1, 9)], { superseded: true }),
  );
  assert.deepEqual(columns, ['step', 'time', 'loss', 'auc']);
  assert.deepEqual(
    rows.map(([step, , ...values]) => [step, ...values]),
    [
      [1, 0.5, null],
      [2, null, 0.7],
      [3, 0.4, 0.8],
    ],
  );
});

test('buckets of several values have extremes and a number, and values that are not finite are counted', () => {
  const { columns, rows } = table(line('loss', [bucket(1, 2, { min: 1, max: 3, count: 4, nan: 1 })]));
  assert.deepEqual(columns, ['step', 'time', 'loss', 'loss min', 'loss max', 'loss count', 'loss non-finite']);
  assert.deepEqual(rows[0].slice(2), [2, 1, 3, 4, 1]);
});

test('CSV has all digits, times in UTC and empty cells for what is missing', () => {
  const text = csvText({ columns: ['step', 'time', 'a,b', 'c'], rows: [[7, 1.5, 0.1234567890123, null]] });
  assert.equal(text, 'step,time,"a,b",c\r\n7,1970-01-01T00:00:01.500Z,0.1234567890123,\r\n');
  assert.equal(csvText(table()), 'step,time\r\n');
});
