// Text for numbers, sizes, ages, ticks and commands.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { age, bytes, clockTicks, duration, logSplits, logTicks, measure, percent, seconds, setting, short, ticks, whole } from '../../web/js/format.js';
import { ledgerText, outcome } from '../../web/js/outcome.js';

const plain = (text) => text.replaceAll('\u202f', ' ');

test('numbers are short, and keep their width while they change', () => {
  const shown = [0, 1, 0.431, 0.43128, 12.3, 999.96, 1234, 208_049, 999_999, 1.2e6, -5, 1e-9, 0.0003].map(short);
  assert.deepEqual(shown, ['0', '1', '0.4310', '0.4313', '12.30', '1.00 k', '1.23 k', '208 k', '1.00 M', '1.20 M', '−5', '1.00e-9', '0.0003']);
});

test('what is not a finite number has its own word', () => {
  assert.deepEqual([NaN, 'NaN', Infinity, '-Infinity', null, undefined].map(short), ['NaN', 'NaN', '∞', '−∞', '–', '–']);
  assert.equal(bytes(null), '–');
  assert.equal(whole('NaN'), 'NaN');
});

test('a share is a percentage of two digits', () => {
  assert.deepEqual([0, 0.0003, 0.00034567, 1e-7, 0.5, 1.5, NaN, null].map(percent), ['0 %', '0.03 %', '0.035 %', '< 0.001 %', '50 %', '150 %', 'NaN', '–']);
});

test('whole numbers are grouped', () => {
  assert.equal(plain(whole(1204331)), '1 204 331');
  assert.equal(plain(whole(-1000)), '−1 000');
  assert.equal(whole(999), '999');
});

test('sizes, lengths of time and units by name', () => {
  assert.deepEqual([0, 999, 228_360, 999_700, 6_300_000, 2 ** 31].map(bytes), ['0 B', '999 B', '228 kB', '1.0 MB', '6.3 MB', '2.1 GB']);
  assert.deepEqual([0.00049, 0.001, 0.5, 2.345, 12, 61_000].map(duration), ['0.5 µs', '1 µs', '500 µs', '2.3 ms', '12 ms', '1 min']);
  assert.deepEqual([1.44, 1440, 'NaN'].map((value) => measure('monitor/step_cost_us_p99', value)), ['1.4 µs', '1.4 ms', 'NaN']);
  assert.deepEqual([-1, 59.9, 60, 7200, 90_000].map(age), ['0 s', '59 s', '1 min', '2 h', '1 d']);
  assert.equal(measure('table/a/bytes', 2048), '2.0 kB');
  assert.equal(measure('table/a/pass_ms', 12), '12 ms');
  assert.equal(measure('megabytes_read', 2048), '2.05 k');
});

test('a moment is an ISO text or a number of seconds', () => {
  assert.equal(seconds('1970-01-01T00:01:00Z'), 60);
  assert.equal(seconds(61.5), 61.5);
  assert.ok(Number.isNaN(seconds('yesterday')));
});

test('ticks of one axis share suffix and digits', () => {
  assert.deepEqual(ticks([0, 0.5, 1]), ['0', '0.5', '1.0']);
  assert.deepEqual(ticks([0, 0.25, 0.5, 0.75]), ['0', '0.25', '0.50', '0.75']);
  assert.deepEqual(ticks([0.1, 0.3]), ['0.1', '0.3']);
  assert.deepEqual(ticks([0, 2.5, 5]), ['0', '2.5', '5.0']);
  assert.deepEqual(ticks([0, 250, 500, 750, 1000]), ['0', '0.25k', '0.50k', '0.75k', '1.00k']);
  assert.deepEqual(ticks([0, 2000, 4000]), ['0', '2k', '4k']);
  assert.deepEqual(ticks([-1500, -1000]), ['−1.5k', '−1.0k']);
  assert.deepEqual(ticks([2e-5, 4e-5]), ['2.0e-5', '4.0e-5']);
});

test('a logarithmic axis has round ticks, over many decades and over less than one', () => {
  assert.deepEqual(logSplits(0.3, 6), [0.5, 1, 2, 5]);
  assert.deepEqual(logTicks(logSplits(1e-3, 1e9)), ['0.01', '1', '100', '10k', '1M', '100M']);
  assert.deepEqual(logSplits(0.43, 0.47), [0.43, 0.44, 0.45, 0.46, 0.47]);
  assert.deepEqual(logTicks([0.02, 1, 2000, null]), ['0.02', '1', '2k', '']);
});

test('a time axis says seconds only where they differ', () => {
  const at = new Date(2026, 0, 2, 13, 5, 30).getTime() / 1000;
  assert.deepEqual(clockTicks([at], 10), ['13:05:30']);
  assert.deepEqual(clockTicks([at], 300), ['13:05']);
  assert.deepEqual(clockTicks([at], 86400), ['01-02']);
});

test('settings read as people say them', () => {
  assert.deepEqual([null, true, 100, { other: 3 }].map((v) => setting(v)), ['off', 'on', '100', '{"other":3}']);
  assert.equal(setting({ active: 3, ranks: [0, 2] }), '3 steps on rank 0, 2');
  assert.equal(setting({ active: 1 }), '1 step');
  assert.equal(setting(100, 'steps'), '100 steps');
});

const command = (state, ranks = {}, more = {}) => ({ id: 'c', control: 'filter_interval', value: 200, state, requested_by: '', requested_at: '', apply_at_step: null, ranks, ...more });

test('a command says how far it has come', () => {
  assert.equal(ledgerText(command('pending')), 'sent');
  assert.equal(ledgerText(command('delivered')), 'seen by trainer');
  assert.equal(ledgerText(command('delivered', {}, { apply_at_step: 900 })), 'seen by trainer, applies at step 900');
  assert.equal(ledgerText(command('applied', { 0: { step: 120 }, 1: { step: 120 } })), 'applied at step 120');
  assert.equal(ledgerText(command('applied', { 0: { step: 120 }, 1: { step: 130 } })), 'applied at steps 120 to 130');
  assert.equal(ledgerText(command('rejected', { 0: { message: 'above 600' } })), 'refused: above 600');
  assert.match(ledgerText(command('expired')), /^no answer: /);
});

test('a request that failed says why, and whether it can be sent again', () => {
  const attempt = { id: 'c', value: 200, reason: '', phase: 'unsent', message: 'The server cannot be reached.', at: 0 };
  assert.deepEqual(outcome(attempt, undefined, 1, ''), { tone: 'bad', text: 'not sent: The server cannot be reached.', retry: true });
  assert.equal(outcome({ ...attempt, phase: 'refused', message: 'at least 1' }, undefined, 1, '')?.text, 'refused: at least 1');
  assert.equal(outcome(undefined, undefined, 1, ''), null);
});

test('a command without an answer is never shown as done', () => {
  const attempt = { id: 'c', value: 200, reason: '', phase: 'sent', message: '', at: 0 };
  const late = outcome(attempt, command('delivered'), 60, '');
  assert.equal(late?.tone, 'wait');
  assert.match(late?.text ?? '', /no answer for 60 s/);
});
