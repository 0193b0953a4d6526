import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import { filterRuns, RunList } from '../../../web/js/data/run-list.js';
import { putRuns, state } from '../../../web/js/data/state.js';
import { run } from '../objects.js';

const ids = (runs) => [...runs].map(({ id }) => id).join(' ');

beforeEach(() => {
  putRuns([], true);
  state.route.value = { page: 'runs' };
});

test('a run is found when every word is in its name, project, id or tags', () => {
  const runs = [run({ id: 'a', name: 'DeepFM', tags: ['lr3'] }), run({ id: 'b', state: 'failed' })];
  const found = (view) => ids(filterRuns(runs, { q: '', state: '', project: '', tags: [], ...view }));
  assert.equal(found({}), 'a b');
  assert.equal(found({ q: 'films deep LR3' }), 'a');
  assert.equal(found({ state: 'failed' }), 'b');
  assert.equal(found({ q: 'nothing' }), '');
  assert.equal(found({ state: 'archived' }), 'a b');
  assert.equal(found({ tags: ['lr3'] }), 'a');
  assert.equal(found({ tags: ['lr3', 'lr4'] }), '');
  assert.equal(found({ project: 'films' }), 'a b');
  assert.equal(found({ project: 'shop' }), '');
});

test('a run that is archived leaves the list, and enters that of archived runs', (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const list = new RunList({});
  state.view.value = { ...state.view.value, state: '' };
  putRuns([run({ id: 'a' }), run({ id: 'b' })], true);
  list.update([run({ id: 'a', archived: true })]);
  context.mock.timers.tick(500);
  assert.equal(ids(state.runs.value.values()), 'b');
  state.view.value = { ...state.view.value, state: 'archived' };
  list.update([run({ id: 'a', archived: true }), run({ id: 'b' })]);
  context.mock.timers.tick(500);
  assert.equal(ids(state.runs.value.values()), 'a');
  state.view.value = { ...state.view.value, state: '' };
});

test('the first page replaces the list, others and searches add to it', async () => {
  const asked = [];
  const list = new RunList({
    runs: async (filter) => {
      asked.push(filter);
      return { runs: [run({ id: `page ${asked.length}` })], next_cursor: 'next' };
    },
  });
  putRuns([run({ id: 'gone' })]);
  await list.load(null);
  await list.load('next');
  state.view.value = { ...state.view.value, q: 'deep', state: 'failed' };
  await list.search();
  assert.equal(ids(state.runs.value.values()), 'page 2 page 3 page 4');
  assert.deepEqual([asked[2].cursor, asked[3].q, asked[3].state], ['next', 'deep', 'failed']);
});

test('the list asks for the metrics that play the roles of its columns, and for the chosen ones', async () => {
  const asked = [];
  const runs = [run({ summary: { 'train/loss': 1, samples_per_second: 2, 'eval/auc': 3 } })];
  const list = new RunList({
    runs: async (filter) => {
      asked.push(filter);
      return { runs, next_cursor: null };
    },
  });
  state.view.value = { ...state.view.value, metrics: ['eval/auc'] };
  await list.load(null);
  assert.deepEqual(asked[1].metric, ['loss', 'qps', 'samples_per_second', 'train/loss', 'eval/auc']);
  assert.deepEqual(state.knownMetrics.value, ['eval/auc', 'samples_per_second', 'train/loss']);
  const { fields, metrics } = list.followed('runs');
  assert.deepEqual([fields.join(), metrics], [asked[1].fields, asked[1].metric]);
  assert.equal(list.followed('compare').metrics, undefined);
  state.view.value = { ...state.view.value, metrics: [] };
});

test('changed runs are shown together; a deleted one is not shown again', () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const list = new RunList({ runs: async () => ({ runs: [], next_cursor: null }) });
    list.update([run({ id: 'a' }), run({ id: 'b' })]);
    list.remove('b');
    assert.equal(state.runs.value.size, 0);
    mock.timers.tick(500);
    assert.equal(ids(state.runs.value.values()), 'a');
  } finally {
    mock.timers.reset();
  }
});

test('what has changed is merged into a run, unless it was loaded later', () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const list = new RunList({ runs: async () => ({ runs: [], next_cursor: null }) });
    const config = { lr: 0.1 };
    putRuns([
      run({ id: 'a', updated_at: '2026-01-01', last_step: 1, summary: { loss: 1, auc: 2 }, config }),
      run({ id: 'b', updated_at: '2026-01-03', last_step: 3 }),
    ]);
    const changed = { updated_at: '2026-01-02', last_step: 2, summary: { loss: 0.5 } };
    list.update([
      { id: 'a', ...changed },
      { id: 'b', ...changed },
    ]);
    mock.timers.tick(500);
    const { last_step, summary, config: kept } = state.runs.value.get('a');
    assert.deepEqual([last_step, summary, kept], [2, { loss: 0.5, auc: 2 }, config]);
    assert.equal(state.runs.value.get('b').last_step, 3);
  } finally {
    mock.timers.reset();
  }
});
