import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { ApiClient, RequestError } from '../../../web/js/data/api.js';

const realFetch = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = realFetch;
});

/** Return a client whose requests get this answer, and the requests. */
function answeredClient(body, { status = 200, date = null } = {}) {
  const requests = [];
  globalThis.fetch = async (url, options) => {
    requests.push({ url: String(url), ...options });
    return new Response(JSON.stringify(body), { status, headers: date ? { date } : {} });
  };
  return { api: new ApiClient(new URL('http://host/monitor/')), requests };
}

test('names from outside are encoded, and empty parameters left out', async () => {
  const { api, requests } = answeredClient({});
  await api.list('a/../b', 'metrics');
  await api.list('r', 'filters');
  await api.runs({ limit: 5, q: '', cursor: null, metric: ['loss', 'qps'] });
  await api.setControl('r', 'x/y', { value: null, reason: '', id: 'c' });
  await api.revert('r', 'c');
  await api.info('r', null);
  await api.info('r', 2);
  await api.lines('r', { after: 0, rank: null, q: 'a b' });
  const urls = requests.map(({ url }) => url.replace('http://host/monitor/api/v1/', ''));
  assert.deepEqual(urls, [
    'runs/a%2F..%2Fb/metrics',
    'runs/r/filters?limit=2000',
    'runs?limit=5&metric=loss&metric=qps',
    'runs/r/controls/x%2Fy',
    'runs/r/commands/c/revert',
    'runs/r/info',
    'runs/r/info?attempt=2',
    'runs/r/logs?after=0&q=a+b',
  ]);
  assert.deepEqual([requests[3].method, requests[3].body], ['PUT', '{"value":null,"reason":"","id":"c"}']);
  assert.equal(requests[4].method, 'POST');
});

test('an error of the server keeps its status, code, field and message', async () => {
  const error = { code: 'out_of_range', message: 'expected 1 or more', field: 'value' };
  const { api } = answeredClient({ error }, { status: 422 });
  await assert.rejects(api.run('r'), { status: 422, ...error });
});

test('series come in their binary layout', async () => {
  const { api, requests } = answeredClient({});
  const buffer = await api.series('r', { key: ['a', 'b'], rank: 'summary', start: null });
  assert.equal(new TextDecoder().decode(buffer), '{}');
  assert.match(requests[0].url, /runs\/r\/series\?key=a&key=b&rank=summary$/);
  assert.equal(requests[0].headers.accept, 'application/octet-stream');
  await assert.rejects(answeredClient({}, { status: 404 }).api.series('r', {}), { status: 404 });
});

test('an answer that is not JSON is an error with the status in words', async () => {
  globalThis.fetch = async () => new Response('<html>', { status: 502 });
  await assert.rejects(new ApiClient(new URL('http://host/')).run('r'), /responded with status 502/);
});

test('a server that cannot be reached has status 0; an aborted request stays an abort', async () => {
  globalThis.fetch = async () => {
    throw new TypeError('failed to fetch');
  };
  const api = new ApiClient(new URL('http://host/'));
  await assert.rejects(api.run('r'), (error) => error instanceof RequestError && error.status === 0);
  const aborted = AbortSignal.abort();
  await assert.rejects(api.run('r', aborted), (error) => !(error instanceof RequestError));
});

test('the clock follows the server only when the difference is more than a few seconds', async () => {
  for (const [ahead, isFollowed] of [
    [3600, true],
    [1, false],
  ]) {
    const date = new Date(Date.now() + ahead * 1000).toUTCString();
    const { api } = answeredClient({}, { date });
    await api.run('r');
    const followed = Math.abs(api.now() - Date.now() / 1000 - 3600) < 60;
    assert.equal(followed, isFollowed);
  }
});
