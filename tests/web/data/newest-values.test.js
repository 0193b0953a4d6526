import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NewestValues } from '../../../web/js/data/newest-values.js';
import { bucket, frame } from '../frames.js';

test('newest values are those of one rank, whatever the charts show, until nobody follows them', () => {
  const sent = [];
  const newest = new NewestValues((message) => sent.push(message));
  newest.setRank(3);
  const end = newest.follow('r', ['loss', 'qps']);
  const [{ id, keys, rank, start, stop }] = sent;
  assert.deepEqual([id % 2, keys, rank, start, stop], [0, ['loss', 'qps'], 3, null, null]);
  assert.equal(newest.value('r', 'loss'), null);
  const before = newest.changes.value;
  newest.apply(frame({ id }, [{ key: 'loss', rank: 3, rows: [bucket(0, 1), bucket(1, 0.5)] }]), keys);
  assert.equal(newest.value('r', 'loss'), 0.5);
  assert.ok(newest.changes.value > before);
  end();
  assert.equal(sent.at(-1).type, 'unwatch');
  assert.equal(newest.value('r', 'loss'), null);
});
