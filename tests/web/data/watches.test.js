import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Watches } from '../../../web/js/data/watches.js';

function recordedWatches() {
  const sent = [];
  const forgotten = [];
  const watches = new Watches(
    (message) => sent.push(message),
    (run, key) => forgotten.push(`${run} ${key}`),
  );
  return { watches, sent, forgotten };
}

test('charts that become visible together share a watch; later ones do not request the first again', () => {
  const { watches, sent } = recordedWatches();
  watches.acquire('r', 'a');
  watches.acquire('r', 'b');
  watches.sync();
  watches.acquire('r', 'c');
  watches.sync();
  const keys = sent.map((message) => message.keys.join());
  assert.deepEqual(keys, ['a,b', 'c']);
});

test('a watch ends when none of its charts is visible, and its data is dropped', () => {
  const { watches, sent, forgotten } = recordedWatches();
  watches.acquire('r', 'a');
  watches.acquire('r', 'b');
  watches.sync();
  watches.release('r', 'a');
  watches.sync();
  assert.equal(sent.length, 1);
  watches.release('r', 'b');
  watches.sync();
  assert.deepEqual(sent[1], { type: 'unwatch', id: 1 });
  assert.deepEqual(forgotten, ['r a', 'r b']);
  assert.equal(watches.keysOf(1), null);
});

test('a series on two charts is watched until both are gone', () => {
  const { watches, sent } = recordedWatches();
  watches.acquire('r', 'a');
  watches.acquire('r', 'a');
  watches.sync();
  watches.release('r', 'a');
  watches.sync();
  assert.equal(sent.length, 1);
});

test('another scope requests the same series again under the same id, once', () => {
  const { watches, sent } = recordedWatches();
  watches.acquire('r', 'a');
  watches.sync();
  const scope = { rank: 'all', start: 5, stop: 9, points: 400, superseded: true };
  watches.setScope(scope);
  watches.setScope({ ...scope });
  const requests = sent.map(({ id, rank, start }) => [id, rank, start].join());
  assert.deepEqual(requests, ['1,0,', '1,all,5']);
});

test('the number of watches and the keys of a message are bounded', () => {
  const { watches, sent } = recordedWatches();
  for (let i = 0; i < 40; i++) {
    watches.acquire('r', `k${i}`);
    watches.sync();
  }
  assert.ok(watches.watches.size <= 13);
  for (let i = 0; i < 300; i++) watches.acquire('r', `m${i}`);
  watches.sync();
  const requests = sent.filter((message) => message.type === 'watch');
  assert.ok(requests.every((message) => message.keys.length <= 64));
});

test('a suspended tab keeps its data and requests it again', () => {
  const { watches, sent, forgotten } = recordedWatches();
  watches.acquire('r', 'a');
  watches.sync();
  watches.suspend();
  watches.sync();
  const types = sent.map((message) => message.type);
  assert.deepEqual(types, ['watch', 'unwatch', 'watch']);
  assert.deepEqual(forgotten, []);
});
