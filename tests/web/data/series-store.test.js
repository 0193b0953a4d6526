import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lastValue } from '../../../web/js/data/series.js';
import { SeriesStore } from '../../../web/js/data/series-store.js';
import { bucket, frame } from '../frames.js';

test('a snapshot replaces the series of its watch, and removes those without points', () => {
  const store = new SeriesStore();
  store.apply(frame({}, [{ key: 'a', rows: [bucket(0, 1)] }]), ['a', 'b']);
  assert.equal(lastValue(store.get('r', 'a')), 1);
  const changed = store.apply(frame({}, []), ['a', 'b']);
  assert.deepEqual([...changed].sort(), ['a', 'b']);
  assert.deepEqual(store.get('r', 'a'), []);
});

test('a delta of another rank is another series', () => {
  const store = new SeriesStore();
  store.apply(frame({}, [{ key: 'a', rows: [bucket(0, 1)] }]), ['a']);
  store.apply(frame({ type: 'delta' }, [{ key: 'a', rank: 1, rows: [bucket(0, 5)] }]), ['a']);
  const held = store.get('r', 'a').map(({ rank, n }) => `rank ${rank}: ${n}`);
  assert.deepEqual(held, ['rank 0: 1', 'rank 1: 1']);
});

test('superseded points come first and are left alone by deltas', () => {
  const store = new SeriesStore();
  const superseded = { key: 'a', attempt: 2, superseded: true, rows: [bucket(1, 90), bucket(2, 91)] };
  store.apply(frame({}, [{ key: 'a', rows: [bucket(0, 1), bucket(2, 3)] }, superseded]), ['a']);
  store.apply(frame({ type: 'delta' }, [{ key: 'a', rows: [bucket(4, 5)] }]), ['a']);
  const [first, second] = store.get('r', 'a');
  assert.deepEqual([first.superseded, [...first.x.subarray(0, first.n)]], [true, [1, 2]]);
  assert.deepEqual([second.superseded, [...second.x.subarray(0, second.n)]], [false, [0, 2, 4]]);
});

test('a series that is no longer watched is dropped', () => {
  const store = new SeriesStore();
  store.drop('r', 'a');
  store.apply(frame({}, [{ key: 'a', rows: [bucket(0, 1)] }]), ['a']);
  store.drop('r', 'a');
  assert.deepEqual(store.get('r', 'a'), []);
});

test('a run began when it was created, or at its earliest point', () => {
  const store = new SeriesStore((run) => (run === 'r' ? 5 : 0));
  const origins = (run) => store.get(run, 'a').map(({ origin }) => origin);
  store.apply(frame({}, [{ key: 'a', rows: [bucket(70, 1)] }]), ['a']);
  assert.deepEqual(origins('r'), [5]);
  store.apply(frame({}, [{ key: 'b', rows: [bucket(30, 1)] }]), ['b']);
  store.apply(frame({ type: 'delta' }, [{ key: 'a', rank: 1, rows: [bucket(80, 1)] }]), ['a']);
  assert.deepEqual(origins('r'), [3, 3]);
  store.apply(frame({ run: 'unknown' }, [{ key: 'a', rows: [bucket(20, 1)] }]), ['a']);
  assert.deepEqual(origins('unknown'), [2]);
});
