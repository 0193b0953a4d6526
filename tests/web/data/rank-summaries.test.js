import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { RequestError } from '../../../web/js/data/api.js';
import { RankSummaries } from '../../../web/js/data/rank-summaries.js';
import { bucket, encodeFrame } from '../frames.js';

const WATCH = { type: 'watch', id: 3, run: 'r', keys: ['loss'], rank: 'band', start: 5, stop: null, points: 900 };
const settle = () => new Promise((resolve) => setImmediate(resolve));

function recordedSummaries(answer) {
  const log = { sent: [], asked: [], frames: [] };
  const api = {
    series: async (run, query) => {
      log.asked.push({ run, ...query });
      return answer();
    },
  };
  const summaries = new RankSummaries(
    api,
    (message) => log.sent.push(message),
    (frame) => log.frames.push(frame),
  );
  return { summaries, ...log };
}

test('a watch of a band is asked for over HTTP until it ends; others go to the live connection', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const buffer = () => encodeFrame({ id: 0 }, [{ key: 'loss', rank: null, rows: [bucket(0, 1)] }]);
    const { summaries, sent, asked, frames } = recordedSummaries(buffer);
    summaries.send({ ...WATCH, rank: 0 });
    summaries.send(WATCH);
    await settle();
    assert.deepEqual(sent, [
      { ...WATCH, rank: 0 },
      { type: 'unwatch', id: 3 },
    ]);
    assert.deepEqual(asked[0], { run: 'r', key: ['loss'], rank: 'summary', start: 5, stop: null, points: 200 });
    assert.deepEqual([frames[0].id, frames[0].series[0].rank], [3, -1]);
    mock.timers.tick(5000);
    await settle();
    assert.equal(frames.length, 2);
    summaries.send({ type: 'unwatch', id: 3 });
    mock.timers.tick(60_000);
    await settle();
    assert.equal(asked.length, 2);
  } finally {
    mock.timers.reset();
  }
});

test('a request that fails is made again', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const { summaries, asked, frames } = recordedSummaries(() => {
      throw new RequestError(0, 'unreachable', 'gone');
    });
    summaries.send(WATCH);
    await settle();
    mock.timers.tick(5000);
    await settle();
    assert.deepEqual([asked.length, frames.length], [2, 0]);
  } finally {
    mock.timers.reset();
  }
});
