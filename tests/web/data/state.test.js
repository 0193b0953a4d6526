import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import * as transitions from '../../../web/js/data/state.js';
import { command, pass, run } from '../objects.js';

const { state } = transitions;
beforeEach(transitions.clearRun);

test('names and tables follow metrics and passes', () => {
  state.metrics.value = [{ key: 'table/item/rows' }, { key: 'loss' }];
  transitions.addPasses([pass({ table: 'user' })]);
  assert.deepEqual(transitions.orderedKeys.value, ['loss', 'table/item/rows']);
  assert.deepEqual(transitions.tables.value, ['item', 'user']);
});

test('a run of the list is replaced by id', () => {
  transitions.putRuns([run({ id: 'a' }), run({ id: 'b' })], true);
  transitions.putRuns([run({ id: 'a', name: 'other' })]);
  assert.deepEqual([state.runs.value.size, state.runs.value.get('a').name], [2, 'other']);
});

test('a deleted run leaves the list, and its page says so', () => {
  transitions.putRuns([run()], true);
  state.run.value = run();
  transitions.removeRun('r');
  assert.equal(state.runs.value.size, 0);
  assert.equal(state.load.value.status, 404);
});

test('items of the lists in the view are added and removed', () => {
  transitions.toggleItem('picked', 'a');
  transitions.toggleItem('picked', 'b');
  transitions.toggleItem('picked', 'a');
  assert.deepEqual(state.view.value.picked, ['b']);
});

test('a command is replaced by id, and a new one comes first', () => {
  transitions.putCommand(command({ id: 'a' }));
  transitions.putCommand(command({ id: 'b' }));
  transitions.putCommand(command({ id: 'a', state: 'applied' }));
  const shown = state.commands.value.map((known) => `${known.id} ${known.state}`);
  assert.deepEqual(shown, ['b pending', 'a applied']);
});

test('an event that has occurred again is replaced, and their number is bounded', () => {
  transitions.addEvent({ id: 1, text: 'lost once' });
  transitions.addEvent({ id: 2, text: 'other' });
  transitions.addEvent({ id: 1, text: 'lost twice' });
  assert.deepEqual(
    state.events.value.map((event) => event.text),
    ['lost twice', 'other'],
  );
  for (let id = 3; id < 1500; id++) transitions.addEvent({ id, text: '' });
  assert.equal(state.events.value.length, 1000);
  assert.equal(state.events.value.at(-1).id, 1499);
});

test('requests and the view change one member at a time', () => {
  transitions.setRequest('a', { id: 1 });
  transitions.setRequest('b', { id: 2 });
  assert.deepEqual(Object.keys(state.requests.value), ['a', 'b']);
  transitions.setView({ log: true });
  transitions.setView({ q: 'loss' });
  assert.deepEqual([state.view.value.log, state.view.value.q], [true, 'loss']);
});

test('pins are added behind the others and removed, and a pinned chart takes more series in its place', () => {
  const pins = () => state.view.value.pins;
  transitions.togglePin(['loss']);
  transitions.togglePin(['auc']);
  assert.deepEqual([pins(), transitions.isPinned(['auc'])], [[['loss'], ['auc']], true]);
  transitions.combine(['loss'], ['loss', 'qps']);
  assert.deepEqual(pins(), [['loss', 'qps'], ['auc']]);
  transitions.combine(['lr'], ['lr', 'auc']);
  assert.deepEqual(pins(), [['loss', 'qps'], ['auc'], ['lr', 'auc']]);
  transitions.combine(['lr', 'auc'], ['auc']);
  assert.deepEqual(pins(), [['loss', 'qps'], ['auc']]);
  transitions.togglePin(['auc']);
  assert.deepEqual(pins(), [['loss', 'qps']]);
  transitions.setView({ pins: [] });
});

test('a run was created when it says, and an unknown one at no time', () => {
  transitions.putRuns([run({ id: 'a', created_at: '1970-01-01T00:01:00Z' })], true);
  assert.equal(transitions.createdAt('a'), 60);
  assert.equal(transitions.createdAt('nobody'), 0);
});

test('the zoom of a vertical axis is replaced, with six digits, and never empty', () => {
  transitions.setScale('loss', 0.123456789, 2);
  transitions.setScale('qps', 1, 2);
  transitions.setScale('loss', 0.5, 0.75);
  transitions.setScale('qps', 3, 3.0000001);
  assert.deepEqual(state.view.value.scales, [
    ['qps', 1, 2],
    ['loss', 0.5, 0.75],
  ]);
  transitions.setView({ scales: [] });
});

test('a frequent kind of events removes no other', () => {
  state.events.value = [];
  transitions.addEvent({ id: 1, kind: 'alert' });
  for (let id = 2; id < 1500; id++) transitions.addEvent({ id, kind: 'checkpoint' });
  const kept = state.events.value;
  assert.deepEqual([kept.length, kept[0].kind, kept[1].id, kept.at(-1).id], [1000, 'alert', 501, 1499]);
  state.events.value = [];
});
