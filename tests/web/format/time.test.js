import assert from 'node:assert/strict';
import { test } from 'node:test';
import { epochSeconds, formatAge, formatDateTime } from '../../../web/js/format/time.js';

test('an age has its largest unit', () => {
  assert.deepEqual([-1, 59.9, 60, 7200, 90_000].map(formatAge), ['0 s', '59 s', '1 min', '2 h', '1 d']);
});

test('a time is an ISO 8601 string or a number of seconds', () => {
  assert.equal(epochSeconds('1970-01-01T00:01:00Z'), 60);
  assert.equal(epochSeconds(61.5), 61.5);
  for (const value of ['yesterday', null, undefined, {}]) assert.ok(Number.isNaN(epochSeconds(value)), String(value));
});

test('date and time are local, with seconds', () => {
  const time = new Date(2026, 0, 2, 3, 4, 5).getTime() / 1000;
  assert.equal(formatDateTime(time), '2026-01-02 03:04:05');
  assert.equal(formatDateTime('yesterday'), '–');
});
