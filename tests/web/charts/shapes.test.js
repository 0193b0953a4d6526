import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawBand, drawBars, drawEndDot, drawLine } from '../../../web/js/charts/shapes.js';
import { paths, recordingArea } from '../canvas.js';
import { bucket, series } from '../frames.js';

const span =
  ({ x, width }) =>
  (i) => [x[i], x[i] + width];

test('a band is one rectangle per pixel column, and a spike has its whole height in full color', () => {
  const { area, drawn } = recordingArea();
  const held = series([
    ...[bucket(10, 5, { min: 4, max: 6 }), bucket(10.5, 5, { min: 4, max: 90 })],
    ...[bucket(11, 5), bucket(12, 5, { max: 7 }), bucket(13, 5, { max: 7 })],
  ]);
  drawBand(area, held, span(held), 'tint', 'full');
  const [band, spikes] = drawn.filter((call) => call.name === 'fill');
  assert.deepEqual(
    [band.fillStyle, band.calls],
    [
      'tint',
      [
        ['rect', 12, 93, 1, 2],
        ['rect', 13, 93, 1, 2],
      ],
    ],
  );
  assert.deepEqual([spikes.fillStyle, spikes.calls], ['full', [['rect', 10, 10, 1, 86]]]);
});

test('many high columns beside each other are no spike', () => {
  const { area, drawn } = recordingArea();
  const low = (x) => bucket(x, 5, { min: 4, max: 6 });
  const high = (x) => bucket(x, 50, { min: 4, max: 90 });
  const held = series([...[1, 2, 3, 4, 5, 6].map(low), high(7), low(8), ...[9, 10, 11, 12, 13].map(high)]);
  drawBand(area, held, span(held), 'tint', 'full');
  const [band, spikes] = paths(drawn);
  assert.deepEqual([band.length, spikes.map(([, left]) => left)], [12, [7]]);
});

test('a wide bucket does not take over the extremes of a narrow one beside it', () => {
  const { area, drawn } = recordingArea();
  const held = series([bucket(10, 5, { max: 8 }), bucket(10, 5, { max: 7 })]);
  const spans = [
    [10, 10.2],
    [10.4, 60],
  ];
  drawBand(area, held, (i) => spans[i], 'tint', 'full');
  assert.deepEqual(paths(drawn)[0], [
    ['rect', 10, 92, 1, 3],
    ['rect', 10, 93, 50, 2],
  ]);
});

test('a band leaves out values that are not finite, and buckets outside of the plot', () => {
  const { area, drawn } = recordingArea();
  const held = series([bucket(-50, 5, { max: 9 }), bucket(10, Number.NaN), bucket(500, 5, { max: 9 })]);
  drawBand(area, held, span(held), 'tint', 'full');
  assert.deepEqual(paths(drawn), [[], []]);
});

test('NaN interrupts a line, and a single point becomes a dot', () => {
  const { area, drawn } = recordingArea();
  drawLine(area, [0, 10, 20, 30], [5, 6, Number.NaN, 7], 4, { color: 'red', width: 1 });
  const [line] = paths(drawn, 'stroke');
  assert.deepEqual(line, [
    ['moveTo', 0, 95],
    ['lineTo', 10, 94],
    ['moveTo', 30, 93],
  ]);
  const [dots] = paths(drawn);
  assert.deepEqual(dots[0].slice(0, 3), ['arc', 30, 93]);
});

test('a gap interrupts a line', () => {
  const { area, drawn } = recordingArea();
  drawLine(area, [0, 10, 50, 60], [1, 1, 1, 1], 4, { color: 'red', width: 1, gaps: [2] });
  const steps = paths(drawn, 'stroke')[0].map(([name, x]) => `${name} ${x}`);
  assert.deepEqual(steps, ['moveTo 0', 'lineTo 10', 'moveTo 50', 'lineTo 60']);
});

test('a line is drawn across the edges of the plot, but not far beyond', () => {
  const { area, drawn } = recordingArea();
  drawLine(area, [-30, -20, -10, 50, 120, 150], [1, 1, 1, 1, 1, 1], 6, { color: 'red', width: 1 });
  const xs = paths(drawn, 'stroke')[0].map(([, x]) => x);
  assert.deepEqual(xs, [-10, 50, 120]);
});

test('bars rise from zero by the sum of their bucket', () => {
  const { area, drawn } = recordingArea();
  const held = series([bucket(20, 5, { count: 4 }), bucket(60, 0)]);
  drawBars(area, held, held.x, 1, 'red');
  const [bars] = paths(drawn);
  assert.equal(bars.length, 1);
  assert.deepEqual([bars[0][2], bars[0][4]], [80, 20]);
});

test('a value that is not finite has no end dot', () => {
  const { area, drawn } = recordingArea();
  drawEndDot(area, 5, Number.NaN, 'red');
  drawEndDot(area, 5, 5, 'red');
  assert.equal(drawn.length, 1);
});
