import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeChart, describeCharts } from '../../../web/js/charts/description.js';
import { bucket, series } from '../frames.js';

test('a chart is described by its last value, extremes and trend', () => {
  const list = [series([bucket(0, 1), bucket(1, 2), bucket(2, 3)])];
  assert.equal(describeChart('loss', list, null), 'loss: last 3 at step 2, lowest 1, highest 3, rising');
  assert.match(describeChart('loss', list, [0, 1]), /lowest 1, highest 2/);
  assert.equal(describeChart('loss', [], null), 'loss: no data yet');
});

test('superseded points are counted but do not enter the extremes', () => {
  const list = [series([bucket(1, 900)], { superseded: true }), series([bucket(0, 1), bucket(1, 2)])];
  assert.match(describeChart('loss', list, null), /lowest 1, highest 2, .*, 1 superseded point$/);
});

test('a chart of several series tells of each, in the first run that has it', () => {
  const list = [series([bucket(0, 1), bucket(1, 2)])];
  const text = describeCharts(['loss', 'loss', 'auc'], [[], list, []], null);
  assert.match(text, /^loss: last 2 at step 1, .*; auc: no data yet$/);
});
