import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commandText, requestOutcome } from '../../../web/js/controls/outcome.js';
import { command } from '../objects.js';

const request = (members = {}) => ({ id: 'c', value: 50, phase: 'sent', message: '', at: 100, ...members });

test('a command says how far it has come', () => {
  const texts = [
    command(),
    command({ state: 'delivered', apply_at_step: 120 }),
    command({ state: 'applied', ranks: { 0: { step: 120 }, 1: { step: 120 } } }),
    command({ state: 'applied', ranks: { 0: { step: 130 }, 1: { step: 120 } } }),
    command({ state: 'rejected', ranks: { 0: { message: 'too small' } } }),
    command({ state: 'expired' }),
  ].map(commandText);
  assert.deepEqual(texts, [
    'sent',
    'received by the trainer, applies at step 120',
    'applied at step 120',
    'applied at steps 120 to 130',
    'refused: too small',
    'no answer: the trainer did not answer in time',
  ]);
});

test('the status line has a tone, and offers a retry only when nothing was sent', () => {
  const outcomes = [
    requestOutcome(undefined, undefined, 100, ''),
    requestOutcome(request({ phase: 'unreachable', message: 'gone' }), undefined, 100, ''),
    requestOutcome(request({ phase: 'rejected', message: 'no' }), undefined, 100, ''),
    requestOutcome(request(), undefined, 100, 'steps'),
    requestOutcome(request(), command({ state: 'applied' }), 100, 'steps'),
  ];
  const shown = outcomes.map((outcome) => outcome && `${outcome.tone} ${outcome.retry}: ${outcome.text}`);
  assert.deepEqual(shown, [
    null,
    'bad true: not sent: gone',
    'bad false: refused: no',
    'pending false: 50 steps: sending',
    'good false: 50 steps: applied',
  ]);
});

test('a command without an answer for long says so', () => {
  assert.match(requestOutcome(request(), command(), 140, '').text, /no answer for 40 s; still pending$/);
  assert.doesNotMatch(requestOutcome(request(), command(), 110, '').text, /no answer/);
});
