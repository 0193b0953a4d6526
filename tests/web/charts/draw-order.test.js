import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawOrder } from '../../../web/js/charts/draw-order.js';

const chart = (top, drawn = false) => [
  { host: { getBoundingClientRect: () => ({ top, bottom: top + 100 }) } },
  { drawn },
];
const tops = (charts) => drawOrder(charts, 900).map(({ member }) => member.host.getBoundingClientRect().top);

test('charts in the window come first, then those next to it on either side', () => {
  assert.deepEqual(tops([chart(-500), chart(950), chart(-50), chart(400), chart(2000)]), [-50, 400, 950, -500, 2000]);
});

test('charts that are about to be seen for the first time have more time than those that change', () => {
  const charts = [chart(400, true), chart(1000), chart(1500)];
  assert.deepEqual(tops(charts), [1000, 400, 1500]);
  const [first, ...others] = drawOrder(charts, 900);
  assert.ok(others.every(({ budget, isUrgent }) => budget < first.budget && !isUrgent));
});
