import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shownRank, shownRankWithoutBand } from '../../../web/js/data/ranks.js';

const ranks = (count, first = 0) => Array.from({ length: count }, (_, i) => first + i);

test('without a choice a few ranks show the lowest one, many a band', () => {
  const shown = [ranks(0), ranks(1, 3), ranks(8, 2), ranks(9)].map((list) => shownRank(null, list));
  assert.deepEqual(shown, [0, 3, 2, 'band']);
});

test('a choice holds, but each of many ranks becomes a band', () => {
  assert.equal(shownRank(37, ranks(64)), 37);
  assert.equal(shownRank('all', ranks(16)), 'all');
  assert.equal(shownRank('all', ranks(17)), 'band');
  assert.equal(shownRank('band', ranks(2)), 'band');
  assert.equal(shownRank('band', ranks(1)), 0);
});

test('where ranks are added up there is no band', () => {
  assert.equal(shownRankWithoutBand(null, ranks(64)), 0);
  assert.equal(shownRankWithoutBand('all', ranks(4)), 'all');
  assert.equal(shownRankWithoutBand(37, ranks(64)), 37);
});
