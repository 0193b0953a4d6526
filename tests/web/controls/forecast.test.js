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

test('an error has two digits, and its value as many decimals in the same unit', () => {
  const texts = (value, error) => {
    const rows = figure(value, error);
    const counts = { next_step: 1, rows: 1, rows_before: rows, evicted: rows, rows_after: rows, at_most: rows };
    const figures = forecastFigures({ ...counts, pass_ms: rows, ms_per_step: rows });
    return [figures[0].value, figures[4].value];
  };
  assert.deepEqual(texts(208_123, 1234.5), ['208.1 ± 1.2 k', '208.1 ± 1.2 s']);
  assert.deepEqual(texts(5, 0.4567), ['5.00 ± 0.46', '5.00 ± 0.46 ms']);
  assert.deepEqual(texts(12.3456, 4567.8), ['0.0 ± 4.6 k', '0.0 ± 4.6 s']);
  assert.deepEqual(texts(1_000_000, 0.01), ['1.000 ± less than 0.001 M', '1000 ± less than 1 s']);
  assert.deepEqual(texts(-3, 1), ['−3.0 ± 1.0', '−3.0 ± 1.0 ms']);
});

test('what limits it is said once for all tables that it concerns', () => {
  const tables = ['a', 'b', 'c'].map((table) => ({ table, message: table === 'b' ? '' : 'it only grows' }));
  assert.deepEqual(forecastNotes({ message: 'One of three.', tables }), ['One of three.', 'a, c: it only grows.']);
  assert.deepEqual(forecastNotes({ message: '', tables: [] }), []);
});
