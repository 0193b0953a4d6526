import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatEstimate } from '../../../web/js/format/estimates.js';

test('an error has two digits, and its value as many decimals in the same unit', () => {
  assert.equal(formatEstimate('rows', 208_123, 1234.5), '208.1 ± 1.2 k');
  assert.equal(formatEstimate('pass_ms', 208_123, 1234.5), '208.1 ± 1.2 s');
  assert.equal(formatEstimate('pass_ms', 0.93, 0.1), '930 ± 100 µs');
  assert.equal(formatEstimate('loss', 0.6, 0.01), '0.600 ± 0.010');
  assert.equal(formatEstimate('loss', 0.0005, 0.00012), '0.00050 ± 0.00012');
  assert.equal(formatEstimate('rows', 12.3456, 4567.8), '0.0 ± 4.6 k');
  assert.equal(formatEstimate('rows', -3, 1), '−3.0 ± 1.0');
  assert.equal(formatEstimate('rows', 80.5, 22), '81 ± 22');
});

test('it is so in every unit', () => {
  assert.equal(formatEstimate('table/a/bytes', 6_312_345, 51_000), '6.312 ± 0.051 MB');
  assert.equal(formatEstimate('bytes', 512, 30), '512 ± 30 B');
  assert.equal(formatEstimate('monitor/time_share', 0.0072, 0.0004), '0.720 ± 0.040 %');
  assert.equal(formatEstimate('system/gpu/0/power_watts', 350.5, 4.4), '350.5 ± 4.4 W');
});

test('an error that is not seen in the digits of its value is said to be less', () => {
  assert.equal(formatEstimate('rows', 1_000_000, 0.01), '1.000 ± less than 0.001 M');
  assert.equal(formatEstimate('pass_ms', 1_000_000, 0.01), '1000 ± less than 1 s');
});

test('a value without an error, and what is no number, stay as they are', () => {
  assert.equal(formatEstimate('rows', 1020, null), '1.02 k');
  assert.equal(formatEstimate('rows', 1095, 0), '1.09 k ± 0');
  assert.equal(formatEstimate('loss', 'NaN', 0.1), 'NaN ± 0.1000');
  assert.equal(formatEstimate('loss', null, null), '–');
  assert.equal(formatEstimate('loss', 3e-7, 1e-8), '3.00e-7 ± 1.00e-8');
});
