import assert from 'node:assert/strict';
import { test } from 'node:test';
import { effectNotes, effectRow, effectText } from '../../../web/js/controls/effect.js';

const effect = (members = {}) => ({
  ...{ command: 'c', control: 'lr', state: 'measured', message: '', steps: { 0: 512, 1: 512 }, missing_steps: 0 },
  ...{ windows: { steps: 100, cut: null, by: null }, metrics: [], also: [], without: {} },
  ...{ ranks_left_out: 0, tables_left_out: 0 },
  ...members,
});

const metric = (members = {}) => ({
  ...{
    key: 'loss',
    role: 'loss',
    table: null,
    trend: -0.01,
    difference: -0.1,
    noise: 0.02,
    verdict: 'lower',
    repeated: 0,
  },
  before: { mean: 0.6, error: 0.01, count: 100, nan: 0 },
  after: { mean: 0.5, error: null, count: 100, nan: 2 },
  ...members,
});

test('a metric is a row of figures with their errors', () => {
  assert.deepEqual(effectRow(metric()), {
    ...{ name: 'loss', before: '0.600 ± 0.010', after: '0.5000, 2 not finite', change: '−0.100 ± 0.020' },
    ...{ verdict: 'lower', isEffect: true },
  });
  const rows = metric({
    key: 'table/user/rows',
    role: 'rows',
    table: 'user',
    difference: 40,
    noise: 8,
    verdict: 'trend',
    trend: 30,
  });
  const { name, change, verdict, isEffect } = effectRow(rows);
  assert.deepEqual([name, change, verdict, isEffect], ['user: rows', '+40.0 ± 8.0', 'as its trend before', false]);
  assert.equal(effectRow({ ...rows, trend: -5 }).verdict, 'higher, perhaps by a trend');
  assert.equal(effectRow(metric({ verdict: 'trend' })).verdict, 'lower, perhaps by a trend');
  const pass = metric({ key: 'table/user/pass_ms', role: 'pass_ms', table: 'user', difference: 0, noise: null });
  assert.deepEqual([effectRow(pass).name, effectRow(pass).change], ['user: filter pass', '0 s']);
  const nothing = { mean: null, error: null, count: 0, nan: 0 };
  const empty = effectRow(metric({ before: nothing, difference: null, noise: null, verdict: 'unknown' }));
  assert.deepEqual([empty.before, empty.change, empty.verdict], ['–', '–', 'too few values']);
});

test('the compared steps are named, or why there are none', () => {
  assert.equal(effectText(effect()), '100 steps before and after step 512.');
  const cut = { steps: 20, cut: 'superseded', by: 'd' };
  assert.equal(
    effectText(effect({ steps: { 0: 5, 1: 9 }, windows: cut })),
    '20 steps before and after the step of each rank. No more, as this was changed again.',
  );
  const waiting = effect({ state: 'waiting', missing_steps: 37 });
  assert.equal(effectText(waiting), 'Not enough steps yet: 37 more for 100 after the change.');
  assert.equal(
    effectText(effect({ state: 'none', message: 'The command was rejected.' })),
    'The command was rejected.',
  );
});

test('what else there is to know is said', () => {
  assert.deepEqual(effectNotes(effect()), []);
  const notes = effectNotes(
    effect({
      ...{ also: [{ command: 'd', controls: ['a', 'b'], step: 7 }], without: { 2: 'pending' }, ranks_left_out: 3 },
      ...{ metrics: [metric({ repeated: 5 })], tables_left_out: 1 },
    }),
  );
  assert.deepEqual(notes, [
    'Also changed: a, b at step 7.',
    'Not applied on rank 2.',
    '5 steps before it, trained again by a later attempt, left out.',
    '3 further ranks left out.',
    '1 further table left out.',
  ]);
});
