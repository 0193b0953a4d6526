import assert from 'node:assert/strict';
import { test } from 'node:test';
import { paintPicture, plotArea } from '../../../web/js/charts/paint.js';
import { EMPTY_PICTURE, rankLines } from '../../../web/js/charts/picture.js';
import { recordingContext } from '../canvas.js';
import { bucket, series } from '../frames.js';

const colors = { series: ['red', 'blue'], tint: ['pink', 'sky'], bad: 'bad', pass: 'pass' };
const box = { left: 0, top: 0, width: 100, height: 100 };

/** Return the colors that are filled and stroked, in order. */
function painted(members) {
  const drawn = [];
  paintPicture(recordingContext(drawn), box, 1, [0, 100], [0, 100], { ...EMPTY_PICTURE, ...members }, colors);
  return drawn
    .filter((call) => call.name === 'fill' || call.name === 'stroke')
    .filter((call) => call.calls.length > 0)
    .map((call) => `${call.name} ${call.name === 'fill' ? call.fillStyle : call.strokeStyle}`);
}

const ranks = (count) =>
  rankLines(
    Array.from({ length: count }, (_, rank) => series([bucket(0, 1, { max: 9 }), bucket(50, 2, { max: 9 })], { rank })),
    colors,
  );

test('one line has a band, several have none', () => {
  assert.deepEqual(painted({ lines: ranks(1) }), ['fill pink', 'stroke red', 'fill red']);
  assert.deepEqual(painted({ lines: ranks(2) }), ['stroke red', 'fill red', 'stroke blue', 'fill blue']);
});

test('the band of many ranks has no holes between reports', () => {
  const rows = [0, 10, 20, 40].map((x) => bucket(x, 5, { min: 1, max: 9, count: 4 }));
  const [line] = rankLines([series(rows)], colors);
  const drawn = [];
  const picture = { ...EMPTY_PICTURE, lines: [{ ...line, band: true }] };
  paintPicture(recordingContext(drawn), box, 1, [0, 100], [0, 10], picture, colors);
  const band = drawn.find((call) => call.name === 'fill' && call.fillStyle === 'pink');
  assert.deepEqual(
    band.calls.map(([, left, , width]) => [left, width]),
    [
      [-5, 10],
      [5, 10],
      [15, 10],
      [35, 10],
    ],
  );
});

test('smoothing adds a line and leaves the band', () => {
  assert.deepEqual(painted({ lines: ranks(1), smooth: 0.5 }), ['fill pink', 'stroke red', 'stroke red']);
});

test('bars, passes and values that are not finite have colors of their own', () => {
  assert.deepEqual(painted({ lines: ranks(1), kind: 'bars' }), ['fill red']);
  const lines = rankLines([series([bucket(0, Number.NaN, { nan: 1 })])], colors);
  assert.deepEqual(painted({ lines, passes: [10] }), ['fill bad', 'fill pass']);
});

test('the layers of a stack are filled from the highest to the lowest', () => {
  assert.deepEqual(painted({ lines: ranks(2), kind: 'stack', passes: [10] }), ['fill blue', 'fill red', 'fill pass']);
});

test('a logarithmic axis puts zero on its lower edge', () => {
  const { px, py } = plotArea(null, box, 1, [0, 10], [1, 100], true);
  assert.deepEqual([px(5), py(10), py(0)], [50, 50, 100]);
});
