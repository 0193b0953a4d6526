import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clampWindow, dragWindow, scaleWindow } from '../../../web/js/charts/window.js';

const WHOLE = [0, 1000];

test('a part is moved within the whole and keeps its length', () => {
  assert.deepEqual(dragWindow([100, 300], WHOLE, 'whole', 50), [150, 350]);
  assert.deepEqual(dragWindow([100, 300], WHOLE, 'whole', -500), [0, 200]);
  assert.deepEqual(dragWindow([100, 300], WHOLE, 'whole', 5000), [800, 1000]);
});

test('its ends stay within the whole and do not cross', () => {
  assert.deepEqual(dragWindow([100, 300], WHOLE, 'start', -500), [0, 300]);
  assert.deepEqual(dragWindow([100, 300], WHOLE, 'start', 900), [295, 300]);
  assert.deepEqual(dragWindow([100, 300], WHOLE, 'end', 900), [100, 1000]);
  assert.deepEqual(dragWindow([100, 300], WHOLE, 'end', -900), [100, 105]);
});

test('it is scaled around its middle', () => {
  assert.deepEqual(scaleWindow([400, 600], WHOLE, 0.5), [450, 550]);
  assert.deepEqual(scaleWindow([400, 600], WHOLE, 100), [0, 1000]);
  assert.deepEqual(scaleWindow([499, 501], WHOLE, 0.1), [497.5, 502.5]);
});

test('a zoom that lies outside is shown at the end', () => {
  assert.deepEqual(clampWindow([900, 1500], WHOLE), [900, 1000]);
  assert.deepEqual(clampWindow([1200, 1500], WHOLE), [1000, 1000]);
});
