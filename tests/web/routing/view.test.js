import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_VIEW, parseView, viewSearch } from '../../../web/js/routing/view.js';

test('view state survives the way through the address', () => {
  const view = {
    ...{ from: 100, to: 900, times: [1.5, 7], smooth: 0.6, log: true, robust: true, x: 'time', rank: 'all' },
    ...{
      paused: true,
      ratio: true,
      q: 'loss|qps & more',
      state: 'x',
      stream: 'stderr',
      effect: 'c&1',
      project: 'p q',
      sort: '-step',
    },
    ...{ tags: ['a,b', 'c'] },
    ...{ folded: ['a/b', 'c,d&e'], picked: ['r1'], hidden: ['r2', 'r3'], metrics: ['train/loss'] },
    pins: [['loss'], ['a+b,c', 'train/x y'], ['table/user/']],
    scales: [
      ['train/a:b,c', -0.5, 1e-7],
      ['loss', 1, 1e21],
    ],
  };
  assert.deepEqual(parseView(viewSearch(view)), view);
  assert.deepEqual(parseView(viewSearch({ ...view, rank: 37 })), { ...view, rank: 37 });
});

test('defaults are left out, and other parameters kept', () => {
  assert.equal(viewSearch(DEFAULT_VIEW), '');
  assert.equal(viewSearch({ ...DEFAULT_VIEW, log: true }, 'runs=a,b'), '?runs=a,b&log=1');
});

test('pins are readable and bounded', () => {
  const pins = [['loss'], ['train/auc', 'eval/auc']];
  assert.equal(viewSearch({ ...DEFAULT_VIEW, pins }), '?pin=loss,train%2Fauc+eval%2Fauc');
  assert.deepEqual(parseView('?pin=,+,a++b,%').pins, [['a', 'b'], ['%']]);
  assert.equal(parseView(`?pin=${'a+'.repeat(99)}b`).pins[0].length, 16);
});

test('invalid parameters get their defaults', () => {
  assert.deepEqual(parseView('?from=9&to=3&smooth=7&rank=-1&log=yes&x=mood&times=5-4&paused=2'), DEFAULT_VIEW);
  assert.deepEqual(parseView('?from=1e99&to=abc&smooth=NaN&rank=%00'), DEFAULT_VIEW);
  assert.equal(parseView('?from=5').from, null);
  assert.deepEqual(parseView('?y=loss:2:1,a:1,b:0:1:2,c:x:1,:1:2,d::1,e:0:Infinity').scales, []);
});
