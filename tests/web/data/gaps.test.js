import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commonGaps, gapIndices, isInGap } from '../../../web/js/data/gaps.js';

const reported = (...times) => ({ time: Float64Array.from(times), n: times.length });
const line = (series) => ({ series, gaps: gapIndices(series) });

test('a wait that is unusually long is a gap, a regular or a short one is none', () => {
  assert.deepEqual(gapIndices(reported(0, 10, 20, 30, 200, 210)), [4]);
  assert.deepEqual(gapIndices(reported(0, 0.1, 0.2, 0.3, 1.5)), []);
  assert.deepEqual(gapIndices(reported(0, 500)), []);
});

test('a time within a gap is told from one at its ends', () => {
  const series = reported(0, 10, 20, 30, 200, 210);
  const inGap = [30, 31, 199, 200, 205].map((time) => isInGap(series, [4], time));
  assert.deepEqual(inGap, [false, true, true, false, false]);
});

test('a pause of a chart is one that all of its lines have', () => {
  const first = line(reported(0, 10, 20, 30, 200, 210));
  const second = line(reported(0, 10, 20, 30, 40, 50, 190, 200));
  assert.deepEqual(commonGaps([first]), [[30, 200]]);
  assert.deepEqual(commonGaps([first, second]), [[50, 190]]);
  assert.deepEqual(commonGaps([line(reported(0, 1, 2)), line(reported(100, 101, 102))]), [[2, 100]]);
  assert.deepEqual(commonGaps([]), []);
});
