import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filterEffect } from '../../../web/js/controls/filter-effect.js';

test('the effect of an interval is predicted from the last pass', () => {
  const texts = [
    filterEffect(100, 100, 300, 320),
    filterEffect(100, null, 300, 320),
    filterEffect(100, 50, undefined, 20),
    filterEffect(100, 50, 300, 320),
    filterEffect(null, 10, 300, 320),
  ];
  assert.deepEqual(texts, [
    'No change: this is the current value.',
    'Filtering stops: no more rows are evicted, and tables only grow.',
    'One pass every 50 steps.',
    'Next pass at step 350 instead of 400, then every 50 steps.',
    'Next pass at step 321, then every 10 steps.',
  ]);
});
