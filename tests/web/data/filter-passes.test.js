import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mergePasses, newestPasses, sumPasses, totalTableSize } from '../../../web/js/data/filter-passes.js';
import { pass } from '../objects.js';

test('a pass is kept once, in the order of steps', () => {
  const known = mergePasses([], [pass({ step: 200 }), pass({ step: 100 })]);
  const merged = mergePasses(known, [pass({ step: 200, evicted: 7 }), pass({ step: 150, table: 'item' })]);
  const shown = merged.map(({ step, table, evicted }) => `${step} ${table} ${evicted}`);
  assert.deepEqual(shown, ['100 user 40', '150 item 40', '200 user 7']);
});

test('the number of passes is bounded, and the newest stay', () => {
  const many = Array.from({ length: 5000 }, (_, step) => pass({ step }));
  const kept = mergePasses([], many);
  assert.equal(kept.length, 4000);
  assert.equal(kept.at(-1).step, 4999);
});

test('the newest pass of each rank adds up', () => {
  const passes = [pass({ step: 1 }), pass({ step: 2, rows_after: 7 }), pass({ step: 1, rank: 1, rows_after: 5 })];
  const newest = newestPasses(passes, 'user');
  assert.equal(sumPasses(newest, 'rows_after'), 12);
  assert.equal(sumPasses([], 'rows_after'), null);
  assert.deepEqual(newestPasses(passes, 'item'), []);
});

test('the size of all tables comes from passes, else from series', () => {
  const summary = { 'table/user/rows': 3, 'table/item/rows': 4, 'table/user/bytes': 9 };
  assert.equal(totalTableSize([pass(), pass({ table: 'item', rows_after: 1 })], summary, 'rows'), 961);
  assert.equal(totalTableSize([], summary, 'rows'), 7);
  assert.equal(totalTableSize([], {}, 'bytes'), null);
});
