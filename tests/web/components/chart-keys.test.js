import assert from 'node:assert/strict';
import { test } from 'node:test';
import { carryOutKey } from '../../../web/js/components/chart-keys.js';

/** Press a key; return what it has called, and whether it meant something. */
function press(key, modifiers = {}) {
  const calls = [];
  const note =
    (name) =>
    (...values) =>
      calls.push([name, ...values]);
  const chart = Object.fromEntries(['magnifyValues', 'shift', 'magnify', 'openMark'].map((name) => [name, note(name)]));
  const crosshair = { x: 7, move: (by) => calls.push(['move', by]) > 0, hide: note('hide') };
  const isMeant = carryOutKey({ key, ...modifiers }, chart, crosshair);
  return [isMeant, ...calls];
}

test('arrows move the crosshair, and with Shift the visible range', () => {
  assert.deepEqual(press('ArrowLeft'), [true, ['move', -1]]);
  assert.deepEqual(press('ArrowRight', { shiftKey: true }), [true, ['shift', 0.25]]);
  assert.deepEqual(press('ArrowUp', { shiftKey: true }), [true, ['magnifyValues', 0.5]]);
  assert.deepEqual(press('ArrowUp'), [false], 'scrolls the page');
});

test('other keys zoom, open a mark, or hide the crosshair', () => {
  assert.deepEqual(press('+', { shiftKey: true }), [true, ['magnify', 7, 0.5]]);
  assert.deepEqual(press('-'), [true, ['magnify', 7, 2]]);
  assert.deepEqual(press('Enter'), [true, ['openMark', 7]]);
  assert.deepEqual(press('Escape'), [true, ['hide']]);
  assert.deepEqual([press('x'), press('ArrowLeft', { altKey: true })], [[false], [false]]);
});
