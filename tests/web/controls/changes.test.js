import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canRevert, changesOf, outcomesByRank } from '../../../web/js/controls/changes.js';
import { command, control } from '../objects.js';

const applied = (members = {}) => ({
  ...{ state: 'applied', old: 100, new: 200, step: 512, late: false, message: '', ...members },
});

test('the value before is that of the lowest rank that has applied the command', () => {
  const ranks = { 0: applied({ state: 'rejected', old: 1 }), 1: applied({ old: null }) };
  assert.deepEqual(changesOf(command({ ranks })), [{ name: 'filter_interval', before: null, after: 200 }]);
  assert.equal(changesOf(command({ ranks: { 0: applied({ state: 'pending', old: null }) } }))[0].before, undefined);
});

test('a command for several controls has a change for each', () => {
  const values = { filter_interval: 200, log_step: 50 };
  const several = command({
    ...{ control: null, value: values, values, state: 'applied' },
    ranks: { 0: applied({ old: { filter_interval: null, log_step: 10 }, new: values }) },
  });
  assert.deepEqual(changesOf(several), [
    { name: 'filter_interval', before: null, after: 200 },
    { name: 'log_step', before: 10, after: 50 },
  ]);
  assert.equal(canRevert(several, [control(), control({ name: 'log_step' })]), true);
  assert.equal(canRevert(several, [control()]), false);
});

test('only what has taken effect and has a value before can be reverted', () => {
  const done = command({ state: 'applied' });
  const reverted = [
    canRevert(done, [control()]),
    canRevert(command({ state: 'delivered' }), [control()]),
    canRevert(done, [control({ type: 'action' })]),
    canRevert(done, [control({ type: 'profile' })]),
    canRevert(done, []),
  ];
  assert.deepEqual(reverted, [true, false, false, false, false]);
});

test('ranks with the same outcome are named together', () => {
  const ranks = {
    ...{ 0: applied(), 1: applied(), 2: applied({ step: 514, late: true }) },
    ...{ 3: applied({ state: 'rejected', message: 'too small' }), 4: applied({ state: 'pending', step: null }) },
  };
  assert.deepEqual(outcomesByRank(command({ ranks })), [
    'ranks 0 and 1: applied at step 512',
    'rank 2: applied at step 514, late',
    'rank 3: refused: too small',
    'rank 4: not received yet',
  ]);
});
