import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outsideText, pauseText, positionText, readingText } from '../../../web/js/charts/captions.js';

test('a reading has its extremes where they differ', () => {
  const reading = { key: 'step_ms', value: 12.245, min: 12, max: 13, count: 3 };
  assert.equal(readingText(reading), '12.2 ms  (12.0 ms to 13.0 ms)');
  assert.equal(readingText({ ...reading, key: 'loss', count: 1 }), '12.24');
});

test('a pause says how long it is, and why when that is known', () => {
  const events = [{ kind: 'disconnected', level: 'warning', time: 50, text: 'rank 0 lost its connection' }];
  assert.equal(pauseText([40, 110], events), 'No data for 1 min 10 s: rank 0 lost its connection');
  assert.equal(pauseText([140, 160], events), 'No data for 20.0 s');
  assert.match(pauseText([10, 80], events, 30), /rank 0/, 'on an axis that starts with the run');
});

test('values outside of the axis are counted', () => {
  const counts = [
    { above: 3, below: 0 },
    { above: 1, below: 2 },
    { above: 0, below: 0 },
  ];
  assert.deepEqual(counts.map(outsideText), ['3 above', '1 above, 2 below', '']);
});

test('the crosshair points at a step, a time or a time after the start', () => {
  assert.equal(positionText('step', 7.4, 7), 'step 7');
  assert.equal(positionText('relative', 90, 7), '1 min 30 s after the start');
  assert.match(positionText('time', 1_700_000_000, 7), /^2023-11-1\d \d\d:/);
});
