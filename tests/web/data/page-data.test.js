import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { RequestError } from '../../../web/js/data/api.js';
import { loadCompared, loadRun } from '../../../web/js/data/page-data.js';
import { clearRun, putRuns, state } from '../../../web/js/data/state.js';
import { pass, run } from '../objects.js';

beforeEach(() => {
  clearRun();
  putRuns([], true);
});

const { signal } = new AbortController();

test('an unknown run is one failed request', async () => {
  const asked = [];
  const api = {
    run: async (id) => {
      asked.push(id);
      throw new RequestError(404, 'not_found', 'no such run');
    },
    list: async (_, name) => asked.push(name),
  };
  await assert.rejects(loadRun(api, 'x', signal), /no such run/);
  assert.deepEqual(asked, ['x']);
  assert.equal(state.run.value, null);
});

test('a run is shown with all its lists at once', async () => {
  const lists = {
    ...{ metrics: [{ key: 'loss' }], controls: [], commands: [], filters: [pass({ step: 7 })], events: [], traces: [] },
  };
  const api = {
    run: async (id) => run({ id }),
    list: async (_, name) => ({ [name === 'filters' ? 'passes' : name]: lists[name] }),
  };
  await loadRun(api, 'a', signal);
  assert.equal(state.run.value.id, 'a');
  assert.deepEqual(state.metrics.value, lists.metrics);
  assert.deepEqual(
    state.passes.value.map(({ step }) => step),
    [7],
  );
});

test('a failure other than an unknown run fails the comparison', async () => {
  const api = {
    run: async () => {
      throw new RequestError(503, 'busy', 'later');
    },
  };
  await assert.rejects(loadCompared(api, ['a'], signal), /later/);
});
