import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commandText, requestOutcome } from '../../../web/js/controls/outcome.js';
import { command, control } from '../objects.js';

const request = (members = {}) => ({ id: 'c', value: 50, phase: 'sent', message: '', at: 100, ...members });

test('a command says how far it has come', () => {
  const texts = [
    command(),
    command({ state: 'delivered', apply_at_step: 120 }),
    command({ state: 'applied', ranks: { 0: { step: 120 }, 1: { step: 120 } } }),
    command({ state: 'applied', ranks: { 0: { step: 130 }, 1: { step: 120 } } }),
    command({ state: 'rejected', ranks: { 0: { message: 'too small' } } }),
    command({ state: 'expired' }),
  ].map((one) => commandText(one));
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
    requestOutcome(undefined, undefined, 100, control()),
    requestOutcome(request({ phase: 'unreachable', message: 'gone' }), undefined, 100, control()),
    requestOutcome(request({ phase: 'rejected', message: 'no' }), undefined, 100, control()),
    requestOutcome(request(), undefined, 100, control()),
    requestOutcome(request(), command({ state: 'applied' }), 100, control()),
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

test('an open command names whom it waits for and who is away', () => {
  const texts = [
    command({ waiting_for: [0, 1] }),
    command({ state: 'delivered', apply_at_step: 120, waiting_for: [1], away: [2] }),
    command({ state: 'delivered', ranks: { 0: { state: 'applied', step: 120 }, 1: { step: null } }, waiting_for: [1] }),
    command({ state: 'applied', ranks: { 0: { step: 120 } }, away: [1, 2] }),
    command({ state: 'applied', ranks: { 0: { step: 120 }, 1: { step: 122, late: true } } }),
  ].map((one) => commandText(one));
  assert.deepEqual(texts, [
    'sent, waiting for ranks 0 and 1',
    'received by the trainer, applies at step 120, waiting for rank 1; rank 2 is away and gets it when it is back',
    'applied at step 120 on rank 0, waiting for rank 1',
    'applied at step 120; ranks 1 and 2 are away and get it when they are back',
    'applied at steps 120 to 122, late on rank 1',
  ]);
});

test('a command that was replaced says by which', () => {
  const older = command({ state: 'superseded', superseded_by: 'd' });
  assert.equal(commandText(older), 'replaced by a newer change (d)');
  const newer = command({ id: 'd', value: 60, requested_by: 'mia' });
  assert.equal(commandText(older, [newer]), 'replaced by a newer change from mia, to 60');
  assert.equal(requestOutcome(request(), older, 100, control(), [newer]).tone, 'muted');
});

test('an action is called by its name, and a revert too before its values are known', () => {
  const stop = control({ name: 'stop', type: 'action' });
  assert.equal(requestOutcome(request({ value: null }), undefined, 100, stop).text, 'stop: sending');
  assert.equal(requestOutcome(request({ value: undefined }), undefined, 100, control()).text, 'revert: sending');
});

test('a command without an answer for long says so', () => {
  assert.match(requestOutcome(request(), command(), 140, control()).text, /no answer for 40 s; still pending$/);
  assert.doesNotMatch(requestOutcome(request(), command(), 110, control()).text, /no answer/);
});
