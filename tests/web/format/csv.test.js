import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatCell } from '../../../web/js/format/csv.js';

test('cells are quoted where they need to be', () => {
  assert.deepEqual(['loss', 'a,b', 'say "x"', 'a\nb'].map(formatCell), ['loss', '"a,b"', '"say ""x"""', '"a\nb"']);
});

test('no cell is a formula', () => {
  assert.deepEqual(['=1+1', '@x', '-a', '+b,c'].map(formatCell), ["'=1+1", "'@x", "'-a", '"\'+b,c"']);
});
