import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assignStyles } from '../../../web/js/charts/run-styles.js';

const IDS = Array.from({ length: 32 }, (_, i) => `run-${i}`);

test('a run has the same style whatever its place and whoever leaves', () => {
  const all = assignStyles(new Map(), IDS);
  assert.equal(new Set(all.values()).size, 32);
  assert.deepEqual(Object.fromEntries(assignStyles(new Map(), [...IDS].reverse())), Object.fromEntries(all));
  const fewer = assignStyles(all, IDS.slice(5));
  for (const id of IDS) assert.equal(fewer.get(id), all.get(id));
});

test('a known style that another shown run has is given up', () => {
  const known = new Map([
    ['a', 3],
    ['b', 3],
    ['c', 5],
  ]);
  const styles = assignStyles(known, ['a', 'b', 'c']);
  assert.deepEqual([styles.get('a'), styles.get('c')], [3, 5]);
  assert.ok(![3, 5].includes(styles.get('b')));
});

test('the first eight runs differ in color, and more than 32 still have one', () => {
  const colors = [...assignStyles(new Map(), IDS.slice(0, 8)).values()].map((number) => number % 8);
  assert.equal(new Set(colors).size, 8);
  const many = assignStyles(new Map(), [...IDS, 'one more']);
  assert.ok(many.get('one more') < 32);
});
