import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EMPTY_PICTURE } from '../../../web/js/charts/picture.js';
import { outsideCounts, stepsInView, xRange, yRange } from '../../../web/js/charts/scales.js';
import { bucket, series } from '../frames.js';

const line = (rows, superseded = false) => ({ series: series(rows), superseded });
const picture = (members) => ({ ...EMPTY_PICTURE, ...members });

test('the x axis shows the zoom, else the data, and is never empty', () => {
  assert.deepEqual(xRange(picture({ x: [3, 9] }), 0, 100), [3, 9]);
  assert.deepEqual(xRange(picture({}), 0, 100), [0, 100]);
  assert.deepEqual(xRange(picture({ x: [5, 5] }), 0, 1), [4.5, 5.5]);
});

test('a stack has its highest edge in view, and says how many steps lie above', () => {
  const steps = Array.from({ length: 400 }, (_, i) => i);
  const flat = line(steps.map((i) => bucket(i, 1)));
  const top = line(steps.map((i) => bucket(i, i === 7 ? 5000 : 9, { min: 0 })));
  const stack = picture({ kind: 'stack', robust: true, lines: [flat, top] });
  assert.ok(yRange(stack)[1] < 20);
  assert.deepEqual(outsideCounts(stack), { above: 1, below: 0 });
});

test('the steps in view come from the zoom, or from the data on a time axis', () => {
  const lines = [line([bucket(0, 1), bucket(8, 1)])];
  assert.deepEqual(stepsInView(picture({ x: [2, 4], lines })), [2, 4]);
  assert.deepEqual(stepsInView(picture({ x: [2, 4], lines, axis: 'time' })), [0, 8]);
  assert.deepEqual(stepsInView(picture({})), [0, 1]);
});

test('the y axis has the extremes in view with a margin, but not those of superseded points', () => {
  const lines = [line([bucket(0, 900)], true), line([bucket(0, 10), bucket(1, 20)])];
  const [low, high] = yRange(picture({ lines }));
  assert.ok(low < 10 && low > 8 && high > 20 && high < 22);
  assert.deepEqual(yRange(picture({})), [0, 1]);
  assert.equal(yRange(picture({ lines: [line([bucket(0, 0), bucket(1, 1)])] }))[0], 0);
});

test('a zoom of the y axis is shown as it is, and says what it leaves out', () => {
  const rows = [bucket(0, 5, { min: 1, max: 9 }), bucket(1, 5), bucket(2, 12)];
  const zoomed = picture({ lines: [line(rows)], y: [4, 8] });
  assert.deepEqual(yRange(zoomed), [4, 8]);
  assert.deepEqual(outsideCounts(zoomed), { above: 2, below: 1 });
  assert.ok(yRange(picture({ lines: [line(rows)], y: [-1, 8], log: true }))[0] > 0);
});

test('a logarithmic axis starts above zero', () => {
  const [low, high] = yRange(picture({ log: true, lines: [line([bucket(0, 0), bucket(1, 10), bucket(2, 1000)])] }));
  assert.ok(low > 0 && low < 10 && high > 1000);
  assert.deepEqual(yRange(picture({ log: true })), [0.1, 10]);
});

test('a robust axis leaves outliers out, and counts them', () => {
  const rows = Array.from({ length: 200 }, (_, i) => bucket(i, i === 100 ? 1e6 : 5 + (i % 10)));
  const shown = picture({ lines: [line(rows)], robust: true });
  const [, high] = yRange(shown);
  assert.ok(high > 14 && high < 40);
  assert.deepEqual(outsideCounts(shown), { above: 1, below: 0 });
  assert.deepEqual(outsideCounts({ ...shown, robust: false }), { above: 0, below: 0 });
});

test('bars leave room on both sides of zero', () => {
  const bars = [line([bucket(0, 100)]), line([bucket(0, 10)])];
  const [low, high] = yRange(picture({ kind: 'bars', lines: bars }));
  assert.ok(low <= -10 && high >= 100);
  assert.deepEqual(yRange(picture({ kind: 'bars', lines: [line([bucket(0, 0)])] })), [-1, 1]);
});
