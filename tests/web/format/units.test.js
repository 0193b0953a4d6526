import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatBytes, formatDuration, formatMetric } from '../../../web/js/format/units.js';

test('bytes have powers of 1000', () => {
  const texts = [0, 999, 228_360, 999_700, 6_300_000, 2 ** 31].map(formatBytes);
  assert.deepEqual(texts, ['0 B', '999 B', '228 kB', '1.0 MB', '6.3 MB', '2.1 GB']);
  assert.equal(formatBytes(null), '–');
});

test('durations have a unit that fits', () => {
  const texts = [0.00049, 0.001, 0.5, 2.345, 12, 61_000].map(formatDuration);
  assert.deepEqual(texts, ['0.5 µs', '1 µs', '500 µs', '2.3 ms', '12 ms', '1 min']);
  assert.equal(formatDuration('NaN'), 'NaN');
});

test('the name of a series implies its unit', () => {
  assert.equal(formatMetric('table/a/bytes', 2048), '2.0 kB');
  assert.equal(formatMetric('bytes', 2048), '2.0 kB');
  assert.equal(formatMetric('table/a/pass_ms', 12), '12 ms');
  assert.equal(formatMetric('megabytes_read', 2048), '2.05 k');
  const latencies = [1.44, 1440, 'NaN'].map((value) => formatMetric('monitor/step_cost_us_p99', value));
  assert.deepEqual(latencies, ['1.4 µs', '1.4 ms', 'NaN']);
});
