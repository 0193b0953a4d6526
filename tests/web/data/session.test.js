import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { RequestError } from '../../../web/js/data/api.js';
import { SeriesStore } from '../../../web/js/data/series-store.js';
import { Session } from '../../../web/js/data/session.js';
import { clearRun, putRuns, state } from '../../../web/js/data/state.js';
import { bucket, encodeFrame } from '../frames.js';
import { run } from '../objects.js';

const LISTS = { metrics: [{ key: 'loss' }], controls: [], commands: [], filters: [], events: [], traces: [] };

beforeEach(() => {
  clearRun();
  putRuns([], true);
  state.route.value = { page: 'runs' };
});

/** Return a started session with everything that it sends and changes recorded. */
function startedSession(fail = () => null) {
  const log = { sent: [], changed: [], newest: [], listed: 0, restarts: 0 };
  const answer = async (value, id) => {
    const error = fail(id);
    if (error) throw error;
    return value;
  };
  const api = {
    now: () => 5,
    run: (id) => answer(run({ id }), id),
    list: (id, name) => answer(name === 'filters' ? { passes: [] } : { [name]: LISTS[name] }, id),
  };
  const runList = {
    load: async () => {
      log.listed += 1;
    },
    followed: (page) => ({ runs: true, page }),
    update: putRuns,
    remove: () => {},
  };
  const seriesChanged = (id, keys) => log.changed.push([id, ...keys]);
  const session = new Session({ api, runList, store: new SeriesStore(), seriesChanged });
  const watches = {
    keysOf: (id) => (id === 1 ? new Set(['loss']) : null),
    restart: () => {
      log.restarts += 1;
    },
  };
  const newest = {
    watches: { keysOf: (id) => (id === 2 ? new Set(['loss']) : null), restart: () => {} },
    apply: (frame) => log.newest.push(frame.id),
  };
  session.start({ open: () => {}, send: (message) => log.sent.push(message) }, watches, newest);
  return { session, log };
}

/** Wait until the page has loaded or failed. */
async function loaded() {
  while (state.load.value === 'loading') await new Promise((resolve) => setImmediate(resolve));
}

test('a run page loads its data and follows its run only', async () => {
  const { session, log } = startedSession();
  session.enter({ page: 'run', run: 'a', tab: 'charts' });
  await loaded();
  assert.equal(state.run.value.id, 'a');
  assert.deepEqual(log.sent, [
    { type: 'unfollow', runs: true },
    { type: 'follow', run: 'a' },
  ]);
  session.text({ type: 'run', run: run({ id: 'b', name: 'other' }) });
  session.text({ type: 'run', run: run({ id: 'a', name: 'renamed' }) });
  session.text({ type: 'event', run: 'a', event: { id: 1, text: 'x' } });
  session.text({ type: 'event', run: 'b', event: { id: 2, text: 'y' } });
  assert.equal(state.run.value.name, 'renamed');
  assert.equal(state.events.value.length, 1);
});

test('another tab of the same run loads nothing again', async () => {
  const { session, log } = startedSession();
  session.enter({ page: 'run', run: 'a', tab: 'charts' });
  await loaded();
  const before = log.sent.length;
  session.enter({ page: 'run', run: 'a', tab: 'tables' });
  assert.equal(log.sent.length, before);
  assert.equal(state.run.value.id, 'a');
});

test('an unknown run is an error of the page', async () => {
  const { session } = startedSession(() => new RequestError(404, 'not_found', 'no such run'));
  session.enter({ page: 'run', run: 'x', tab: 'charts' });
  await loaded();
  assert.deepEqual(state.load.value, { status: 404, message: 'no such run' });
});

test('a run that did not exist is opened when it starts', async () => {
  let missing = true;
  const { session, log } = startedSession(() => (missing ? new RequestError(404, 'not_found', 'no such run') : null));
  session.enter({ page: 'run', run: 'x', tab: 'charts' });
  await loaded();
  assert.deepEqual(log.sent.at(-1), { type: 'follow', runs: true, page: 'run' });
  session.text({ type: 'runs', runs: [run({ id: 'y' })] });
  assert.equal(log.sent.length, 3);
  missing = false;
  session.text({ type: 'runs', runs: [run({ id: 'y' }), run({ id: 'x' })] });
  assert.deepEqual(log.sent.slice(3), [
    { type: 'unfollow', runs: true },
    { type: 'follow', run: 'x' },
  ]);
  while (state.load.value !== 'ready') await new Promise((resolve) => setImmediate(resolve));
  assert.equal(state.run.value.id, 'x');
});

test('a lost server leaves the loaded page as it is, and reconnecting loads it again', async () => {
  let gone = false;
  const { session, log } = startedSession(() => (gone ? new RequestError(0, 'unreachable', 'gone') : null));
  session.opened();
  session.enter({ page: 'run', run: 'a', tab: 'charts' });
  await loaded();
  session.closed();
  assert.deepEqual(state.connection.value, { up: false, since: 5, ever: true });
  gone = true;
  await session.refresh();
  assert.equal(state.load.value, 'ready');
  session.opened();
  assert.equal(log.restarts, 2);
});

test('a frame of an ended watch is ignored', () => {
  const { session, log } = startedSession();
  session.binary(encodeFrame({ id: 7 }, [{ key: 'loss', rows: [bucket(0, 1)] }]));
  session.binary(encodeFrame({ id: 1 }, [{ key: 'loss', rows: [bucket(0, 1)] }]));
  session.binary(encodeFrame({ id: 2 }, [{ key: 'loss', rows: [bucket(0, 1)] }]));
  assert.deepEqual(log.changed, [['r', 'loss']]);
  assert.deepEqual(log.newest, [2]);
});

test('a list follows the runs that change, with what it shows of each once that is known', async () => {
  const { session, log } = startedSession();
  session.opened();
  await session.refresh();
  const follow = { type: 'follow', runs: true, page: 'runs' };
  assert.deepEqual(log.sent, [follow, follow]);
  session.text({ type: 'runs', runs: [run({ id: 'a' }), run({ id: 'b' })] });
  assert.deepEqual([...state.runs.value.keys()], ['a', 'b']);
  session.enter({ page: 'compare', runs: ['a', 'b'] });
  await loaded();
  assert.deepEqual(log.sent.at(-1), { ...follow, page: 'compare' });
});

test('an unknown run leaves the others of a comparison', async () => {
  const { session } = startedSession((id) => (id === 'x' ? new RequestError(404, 'not_found', 'no such run') : null));
  session.enter({ page: 'compare', runs: ['a', 'x', 'b'] });
  await loaded();
  assert.equal(state.load.value, 'ready');
  assert.deepEqual([...state.runs.value.keys()], ['a', 'b']);
  assert.deepEqual(state.unknownRuns.value, ['x']);
});

test('read-only access and the person are known from the greeting', () => {
  const { session } = startedSession();
  session.text({ type: 'hello', scope: 'view', session: null });
  assert.equal(state.canControl.value, false);
  assert.equal(state.session.value, null);
  session.text({ type: 'hello', scope: 'control', session: 'alice@example.com' });
  assert.equal(state.canControl.value, true);
  assert.equal(state.session.value, 'alice@example.com');
});
