import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { clearPicks, pickRange, togglePick } from '../../../web/js/data/run-selection.js';
import { state } from '../../../web/js/data/state.js';
import { run } from '../objects.js';

const runs = Array.from({ length: 300 }, (_, number) => run({ id: `r${number}` }));
const picked = () => state.view.value.picked.join(' ');

beforeEach(clearPicks);

test('a range extends from the run that was selected last, in both directions', () => {
  togglePick('r5');
  pickRange(runs, 'r7');
  assert.equal(picked(), 'r5 r6 r7');
  pickRange(runs, 'r4');
  assert.equal(picked(), 'r5 r6 r7 r4');
  togglePick('r6');
  assert.equal(picked(), 'r5 r7 r4');
});

test('a range without a beginning is one run, and one that is not in the list selects nothing', () => {
  pickRange(runs, 'r2');
  pickRange(runs, 'nobody');
  assert.equal(picked(), 'r2');
  pickRange(runs, 'r3');
  assert.equal(picked(), 'r2 r3');
});

test('the selection fits into the address', () => {
  togglePick('r0');
  pickRange(runs, 'r299');
  assert.equal(state.view.value.picked.length, 200);
});
