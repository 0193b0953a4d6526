import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RunActions } from '../../../web/js/data/run-actions.js';
import { state } from '../../../web/js/data/state.js';
import { run } from '../objects.js';

/** An API that keeps what was asked; requests for the run `busy` fail. */
function acting() {
  const asked = [];
  const answer = async (...request) => {
    asked.push(request);
    if (request[1] === 'busy') throw new Error('run busy is connected');
    return run({ id: request[1], ...request[2] });
  };
  const api = {
    updateRun: (id, change) => answer('PATCH', id, change),
    deleteRun: (id) => answer('DELETE', id),
    restoreRun: (id) => answer('restore', id),
  };
  const list = {
    removed: [],
    updated: [],
    remove: (id) => list.removed.push(id),
    update: (runs) => list.updated.push(...runs),
  };
  return { actions: new RunActions(api, list), asked, list };
}

test('a change is undone with what each run had before', async () => {
  const { actions, asked, list } = acting();
  const runs = [run({ id: 'a', tags: ['x'] }), run({ id: 'b', tags: [] })];
  await actions.change(runs, 'Tagged', (one) => ({ tags: [...one.tags, 'new'] }));
  assert.equal(state.done.value.text, 'Tagged 2 runs.');
  await state.done.value.undo();
  assert.deepEqual(asked.slice(2), [
    ['PATCH', 'a', { tags: ['x'] }],
    ['PATCH', 'b', { tags: [] }],
  ]);
  assert.equal(list.updated.length, 4);
  assert.equal(state.done.value.undo, null);
});

test('what cannot be done is said, and only the rest is undone', async () => {
  const { actions, asked, list } = acting();
  await actions.remove([run({ id: 'busy' }), run({ id: 'a' })]);
  assert.deepEqual(list.removed, ['a']);
  assert.match(state.done.value.text, /^Deleted 1 run\./);
  assert.deepEqual(state.done.value.failures, ['run busy is connected']);
  await state.done.value.undo();
  assert.deepEqual(asked.at(-1), ['restore', 'a']);
  await actions.remove([run({ id: 'busy' })]);
  assert.equal(state.done.value.undo, null);
});
