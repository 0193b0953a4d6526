import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forecastFigures, forecastNotes } from '../../../web/js/controls/forecast.js';

const figure = (value, error = null) => ({ value, error });

test('a prediction is a list of figures with their errors', () => {
  const figures = forecastFigures({
    ...{ next_step: 700, rows: 860, rows_before: figure(12_400, 300), evicted: figure(80.5, 22) },
    ...{ rows_after: figure(1020), at_most: figure(1095, 0), pass_ms: figure(0.93, 0.1), ms_per_step: figure(0.0047) },
  });
  assert.deepEqual(
    figures.map(({ value }) => value),
    ['12.40 ± 0.30 k', '81 ± 22', '1.02 k', '1.09 k ± 0', '930 ± 100 µs', '4.70 µs'],
  );
  assert.equal(figures[0].label, 'Rows at the next pass');
});

test('what limits it is said once for all tables that it concerns', () => {
  const tables = ['a', 'b', 'c'].map((table) => ({ table, message: table === 'b' ? '' : 'it only grows' }));
  assert.deepEqual(forecastNotes({ message: 'One of three.', tables }), ['One of three.', 'a, c: it only grows.']);
  assert.deepEqual(forecastNotes({ message: '', tables: [] }), []);
});
