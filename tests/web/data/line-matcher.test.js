import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LineMatcher } from '../../../web/js/data/line-matcher.js';
import { matchTexts } from '../../../web/js/data/match-lines.js';

/** A worker that answers at once, or never. */
class FakeWorker {
  constructor(answers = true) {
    this.answers = answers;
    this.asked = [];
    this.ended = 0;
  }

  postMessage({ pattern, texts }) {
    this.asked.push(texts);
    if (this.answers) queueMicrotask(() => this.onmessage({ data: matchTexts(pattern, texts) }));
  }

  terminate() {
    this.ended += 1;
  }
}

const line = (text) => ({ text });

test('lines are matched once, without their colours', async () => {
  const worker = new FakeWorker();
  const matcher = new LineMatcher('err', () => worker);
  const lines = [line('\u001b[31merr\u001b[0mor'), line('fine')];
  await matcher.match(lines);
  const more = [...lines, line('another err')];
  await Promise.all([matcher.match(more), matcher.match(more)]);
  assert.deepEqual(worker.asked, [['error', 'fine'], ['another err']]);
  assert.deepEqual(matcher.matching(more), [more[0], more[2]]);
  assert.deepEqual(matcher.parts.get(more[0]), ['', 'err', 'or']);
  matcher.close();
  assert.equal(worker.ended, 1);
});

test('a worker that takes too long is ended, and said to be', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const worker = new FakeWorker(false);
  const matcher = new LineMatcher('(a+)+$', () => worker);
  const done = matcher.match([line('aaaa')]);
  await Promise.resolve();
  await Promise.resolve();
  context.mock.timers.tick(2000);
  await assert.rejects(done, /more than 2 s on 1 lines/);
  assert.equal(worker.ended, 1);
  await assert.rejects(matcher.match([line('aaaa')]), /more than 2 s/, 'it is not tried again');
});
