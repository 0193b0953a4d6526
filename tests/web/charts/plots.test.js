import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PlotPool } from '../../../web/js/charts/plots.js';

test('plots are passed on by their axes, and the oldest of too many is destroyed', () => {
  const pool = new PlotPool();
  /** @type {string[]} */
  const calls = [];
  const seat = (name) => ({
    name,
    plot: { root: { remove: () => calls.push(`remove ${name}`) }, destroy: () => calls.push(`destroy ${name}`) },
  });
  pool.give('step', seat('a'));
  pool.give('time', seat('b'));
  pool.give('step', seat('c'));
  assert.equal(pool.take('step').name, 'c');
  assert.equal(pool.take('step').name, 'a');
  assert.equal(pool.take('step'), undefined);
  assert.deepEqual(calls, ['remove a', 'remove b', 'remove c']);
  for (let i = 0; i < 40; i++) pool.give('step', seat(i));
  assert.ok(calls.includes('destroy b'));
  assert.equal(pool.take('time'), undefined);
  assert.equal(pool.idle.length, 40);
});
