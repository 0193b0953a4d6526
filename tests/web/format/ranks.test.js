import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatRanks } from '../../../web/js/format/ranks.js';

test('a few ranks are named, and of many the first ones', () => {
  const many = Array.from({ length: 64 }, (_, rank) => rank);
  assert.deepEqual([[3], [0, 1], [0, 2, 5], many.slice(0, 9), many].map(formatRanks), [
    'rank 3',
    'ranks 0 and 1',
    'ranks 0, 2 and 5',
    'ranks 0, 1, 2, 3, 4, 5, 6, 7 and 8',
    'ranks 0, 1, 2, 3, 4, 5, 6, 7 and 56 others',
  ]);
});
