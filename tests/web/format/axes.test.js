import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  durationTickLabels,
  logTickLabels,
  logTicks,
  tickLabels,
  timeTickLabels,
} from '../../../web/js/format/axes.js';

test('the labels of one axis share suffix and number of digits', () => {
  const axes = [
    [
      [0, 0.5, 1],
      ['0', '0.5', '1.0'],
    ],
    [
      [0, 0.25, 0.5, 0.75],
      ['0', '0.25', '0.50', '0.75'],
    ],
    [
      [0.1, 0.3],
      ['0.1', '0.3'],
    ],
    [
      [0, 250, 500, 750, 1000],
      ['0', '0.25k', '0.50k', '0.75k', '1.00k'],
    ],
    [
      [0, 2000, 4000],
      ['0', '2k', '4k'],
    ],
    [
      [-1500, -1000],
      ['−1.5k', '−1.0k'],
    ],
    [
      [2e-5, 4e-5],
      ['2.0e-5', '4.0e-5'],
    ],
  ];
  for (const [ticks, labels] of axes) assert.deepEqual(tickLabels(ticks), labels);
});

test('a logarithmic axis has round ticks, over many decades and over less than one', () => {
  assert.deepEqual(logTicks(0.3, 6), [0.5, 1, 2, 5]);
  assert.deepEqual(logTickLabels(logTicks(1e-3, 1e9)), ['0.01', '1', '100', '10k', '1M', '100M']);
  assert.deepEqual(logTickLabels(logTicks(1, 3e5, 2.1)), ['1', '100k']);
  assert.deepEqual(logTickLabels(logTicks(2, 9e4, 1.5)), ['10']);
  assert.deepEqual(logTicks(0.43, 0.47), [0.43, 0.44, 0.45, 0.46, 0.47]);
  assert.deepEqual(logTickLabels([0.02, 1, 2000, null]), ['0.02', '1', '2k', '']);
});

test('a time axis shows seconds and dates only where they differ', () => {
  const time = new Date(2026, 0, 2, 13, 5, 30).getTime() / 1000;
  const midnight = new Date(2026, 0, 2).getTime() / 1000;
  assert.deepEqual(timeTickLabels([time], 10), ['13:05:30']);
  assert.deepEqual(timeTickLabels([midnight, time], 300), ['01-02', '13:05']);
  assert.deepEqual(timeTickLabels([time], 86400), ['01-02']);
});

test('close ticks of a large or a small number differ', () => {
  assert.deepEqual(
    tickLabels([1e9, 1e9 + 1, 1e9 + 2]),
    ['1 000 000 000', '1 000 000 001', '1 000 000 002'].map(narrow),
  );
  assert.deepEqual(tickLabels([1 + 1e-8, 1 + 2e-8]), ['1.00000001', '1.00000002']);
  assert.deepEqual(tickLabels([1.00001e-4, 1.00002e-4]), ['1.00001e-4', '1.00002e-4']);
  assert.deepEqual(tickLabels([228_355, 228_356]), ['228.355k', '228.356k']);
});

test('labels have the unit of their values', () => {
  const milliseconds = { symbol: 's', scale: 1e-3 };
  assert.deepEqual(tickLabels([0, 5, 10], milliseconds), ['0', '5ms', '10ms']);
  assert.deepEqual(tickLabels([0, 500, 1500], milliseconds), ['0', '0.5s', '1.5s']);
  assert.deepEqual(tickLabels([1e6, 2e6], { symbol: 'B', scale: 1 }), ['1MB', '2MB']);
  assert.deepEqual(tickLabels([0.1, 0.2], { symbol: '%', scale: 100 }), ['10%', '20%']);
  assert.deepEqual(logTickLabels([1, 10, 1000], milliseconds), ['1ms', '10ms', '1s']);
});

const narrow = (text) => text.replaceAll(' ', '\u202f');

test('durations have the digits that the distance of the ticks needs', () => {
  assert.deepEqual(durationTickLabels([0, 30, 3690], 30), ['0:00', '0:30', '1:01:30']);
  assert.deepEqual(durationTickLabels([-60, 5400, 90_000], 1800), ['−0 h 01', '1 h 30', '25 h 00']);
  assert.deepEqual(durationTickLabels([0, 172_800], 86_400), ['0 d', '2 d']);
});
