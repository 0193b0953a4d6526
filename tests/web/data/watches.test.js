// Which series are asked for, and how seldom.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Watches } from '../../web/js/watch.js';

function desk() {
  const sent = [];
  const forgotten = [];
  const watches = new Watches(
    (message) => sent.push(message),
    (run, key) => forgotten.push(`${run} ${key}`),
  );
  return { watches, sent, forgotten };
}

test('charts that come into view together share a watch; later ones do not ask for the first again', () => {
  const { watches, sent } = desk();
  watches.want('r', 'a');
  watches.want('r', 'b');
  watches.sync();
  watches.want('r', 'c');
  watches.sync();
  assert.deepEqual(
    sent.map((m) => m.keys),
    [['a', 'b'], ['c']],
  );
});

test('a watch ends when none of its charts is in view, and its data is let go', () => {
  const { watches, sent, forgotten } = desk();
  watches.want('r', 'a');
  watches.want('r', 'b');
  watches.sync();
  watches.unwant('r', 'a');
  watches.sync();
  assert.equal(sent.length, 1);
  watches.unwant('r', 'b');
  watches.sync();
  assert.deepEqual(sent[1], { type: 'unwatch', id: 1 });
  assert.deepEqual(forgotten, ['r a', 'r b']);
});

test('a series on two charts is wanted until both are gone', () => {
  const { watches, sent } = desk();
  watches.want('r', 'a');
  watches.want('r', 'a');
  watches.sync();
  watches.unwant('r', 'a');
  watches.sync();
  assert.equal(sent.length, 1);
});

test('another zoom or rank asks again under the same numbers', () => {
  const { watches, sent } = desk();
  watches.want('r', 'a');
  watches.sync();
  watches.setScope({ rank: 'all', start: 5, stop: 9, points: 400 });
  watches.setScope({ rank: 'all', start: 5, stop: 9, points: 400 });
  assert.deepEqual(
    sent.map((m) => [m.id, m.rank, m.start]),
    [
      [1, 0, null],
      [1, 'all', 5],
    ],
  );
});

test('a long scroll does not leave watches without end, and no message has too many keys', () => {
  const { watches, sent } = desk();
  for (let i = 0; i < 40; i++) {
    watches.want('r', `k${i}`);
    watches.sync();
  }
  assert.ok(watches.batches.size <= 13);
  for (let i = 0; i < 300; i++) watches.want('r', `m${i}`);
  watches.sync();
  assert.ok(sent.filter((m) => m.type === 'watch').every((m) => m.keys.length <= 64));
});

test('a hidden tab is pushed nothing and keeps what it has', () => {
  const { watches, sent, forgotten } = desk();
  watches.want('r', 'a');
  watches.sync();
  watches.rest();
  watches.sync();
  assert.deepEqual(
    sent.map((m) => m.type),
    ['watch', 'unwatch', 'watch'],
  );
  assert.deepEqual(forgotten, []);
});
