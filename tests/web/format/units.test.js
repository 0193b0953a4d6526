import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatBytes, formatDuration, formatMetric } from '../../../web/js/format/units.js';

test('bytes have powers of 1000', () => {
  const texts = [0, 999, 228_360, 999_700, 6_300_000, 2 ** 31].map(formatBytes);
  assert.deepEqual(texts, ['0 B', '999 B', '228 kB', '1.0 MB', '6.3 MB', '2.1 GB']);
  assert.equal(formatBytes(null), '–');
});

test('durations have a unit that fits', () => {
  const texts = [0, 0.00049, 0.001, 0.5, 2.345, 12.245, 999.96, 1999, 59_949].map(formatDuration);
  const expected = ['0 s', '490 ns', '1.00 µs', '500 µs', '2.35 ms', '12.2 ms', '1.00 s', '2.00 s', '59.9 s'];
  assert.deepEqual(texts, expected);
  const long = [59_960, 200_000, 3_660_000, 90_000_000, -200_000].map(formatDuration);
  assert.deepEqual(long, ['1 min 0 s', '3 min 20 s', '1 h 1 min', '1 d 1 h', '−3 min 20 s']);
  assert.equal(formatDuration('NaN'), 'NaN');
});

test('the name of a series implies its unit', () => {
  assert.equal(formatMetric('table/a/bytes', 2048), '2.0 kB');
  assert.equal(formatMetric('bytes', 2048), '2.0 kB');
  assert.equal(formatMetric('table/a/pass_ms', 12), '12.0 ms');
  assert.equal(formatMetric('time/forward_s', 0.0125), '12.5 ms');
  assert.equal(formatMetric('monitor/bytes_per_s', 2048), '2.0 kB/s');
  assert.equal(formatMetric('monitor/time_share', 0.0072), '0.72 %');
  assert.equal(formatMetric('steps_per_s', 12), '12');
  assert.equal(formatMetric('system/gpu/0/power_watts', 350.5), '350.5 W');
  assert.equal(formatMetric('system/gpu/0/temperature_celsius', -4), '−4 °C');
  assert.equal(formatMetric('megabytes_read', 2048), '2.05 k');
  const latencies = [1.44, 1440, 'NaN'].map((value) => formatMetric('monitor/step_cost_us_p99', value));
  assert.deepEqual(latencies, ['1.44 µs', '1.44 ms', 'NaN']);
});
