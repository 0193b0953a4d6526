import assert from 'node:assert/strict';
import { test } from 'node:test';
import { columnMetric, compareRuns, sortRuns } from '../../../web/js/data/run-order.js';
import { run } from '../objects.js';

const ids = (runs) => [...runs].map(({ id }) => id).join(' ');

test('running runs come first, then newer ones', () => {
  const runs = [
    run({ id: 'old', created_at: '2026-01-01' }),
    run({ id: 'done', state: 'finished', created_at: '2026-01-03' }),
    run({ id: 'new', created_at: '2026-01-02' }),
  ];
  assert.equal(ids(runs.sort(compareRuns)), 'new old done');
});

test('runs keep their place while their state and number stay', () => {
  const before = [run({ id: 'b', created_at: '2' }), run({ id: 'a', created_at: '1' })];
  const changed = run({ id: 'a', created_at: '1', last_step: 99 });
  const map = new Map([
    ['a', changed],
    ['b', before[0]],
  ]);
  assert.deepEqual(sortRuns(before, map), [before[0], changed]);
  assert.equal(ids(sortRuns(before, map.set('b', run({ id: 'b', created_at: '2', state: 'failed' })))), 'a b');
  assert.equal(ids(sortRuns(before, map.set('c', run({ id: 'c', created_at: '3' })))), 'c a b');
});

test('any column orders the list, and runs without a value come last', () => {
  const runs = new Map(
    [
      run({ id: 'a', name: 'B', last_step: 2, summary: { 'train/loss': 0.5 } }),
      run({ id: 'b', name: 'a', last_step: null, summary: { loss: 'Infinity' } }),
      run({ id: 'c', name: 'c', last_step: 10, summary: { loss: 'NaN' }, state: 'failed' }),
    ].map((one) => [one.id, one]),
  );
  const ordered = (sort) => ids(sortRuns([], runs, sort));
  assert.equal(ordered('name'), 'b a c');
  assert.equal(ordered('-name'), 'c a b');
  assert.equal(ordered('step'), 'a c b');
  assert.equal(ordered('-step'), 'c a b');
  assert.equal(ordered('loss'), 'a b c');
  assert.equal(ordered('-loss'), 'b a c');
  assert.equal(ordered('metric:loss'), 'b a c');
  assert.equal(ordered('state'), 'c a b');
  assert.equal(columnMetric('loss', runs.get('a')), 'train/loss');
  assert.equal(columnMetric('metric:eval/auc', runs.get('a')), 'eval/auc');
});
