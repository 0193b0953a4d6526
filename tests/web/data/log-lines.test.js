import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogPart, MAX_LINES, markedParts, shownText } from '../../../web/js/data/log-lines.js';

const line = (id, text = `line ${id}`) => ({ id, text });

/** A server whose log has the lines from 1 to `size`. */
function server(size) {
  const log = { size, asked: [] };
  log.lines = async (run, { after, before, limit }) => {
    log.asked.push([run, after, before]);
    const stop = before ?? log.size + 1;
    const start = after === undefined ? Math.max(1, stop - limit) : after + 1;
    const lines = Array.from({ length: Math.max(0, stop - start) }, (_, i) => line(start + i));
    return { lines, first: start, last: log.size, more: after === undefined && start > 1, dropped: 3, removed: 4 };
  };
  return log;
}

test('colours are removed and control characters made visible', () => {
  assert.equal(shownText('\u001b[1;31mred\u001b[0m\u001b]0;title\u0007 plain\ttab'), 'red plain\ttab');
  assert.equal(shownText('a\u0000b\u202ec\u001b'), 'a\ufffdb\ufffdc\ufffd');
  assert.equal(shownText('<b>no markup</b>'), '<b>no markup</b>');
});

test('every second part is a word of the search', () => {
  assert.deepEqual(markedParts('Loss is (NaN)', '(nan) loss'), ['', 'Loss', ' is ', '(NaN)', '']);
  assert.deepEqual(markedParts('text', ' '), ['text']);
  assert.deepEqual(markedParts('text', 'absent'), ['text']);
});

test('the newest lines come first, then what arrives, and older ones when asked for', async () => {
  const log = server(1500);
  const part = new LogPart(log, 'r', { q: '', rank: null, stream: '' });
  assert.equal(await part.update(), true);
  assert.deepEqual([part.lines.length, part.first, part.last, part.more], [1000, 501, 1500, true]);
  assert.equal(await part.update(), false);
  log.size = 1502;
  assert.equal(await part.update(), true);
  assert.equal(part.lines.at(-1).id, 1502);
  await part.older();
  assert.deepEqual([part.lines.length, part.first, part.more, part.shift], [1502, 1, false, 500]);
  assert.deepEqual([part.dropped, part.removed], [3, 4]);
  assert.deepEqual(log.asked[1], ['r', 1500, undefined]);
});

test('a log without lines is known to be empty after one answer', async () => {
  const part = new LogPart(server(0), 'r', { q: 'x', rank: 1, stream: 'stderr' });
  assert.equal(await part.update(), true);
  assert.deepEqual([part.lines, part.last], [[], 0]);
});

test('the page keeps a bounded number of lines', async () => {
  const log = server(10);
  const part = new LogPart(log, 'r', { q: '', rank: null, stream: '' });
  await part.update();
  log.size = MAX_LINES + 30;
  await part.update();
  assert.deepEqual([part.lines.length, part.lines[0].id, part.first, part.more], [MAX_LINES, 31, 31, true]);
  assert.equal(part.shift, -30);
});
