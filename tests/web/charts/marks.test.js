import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawCheckpoints, drawEvents, drawNonFinite, drawPasses, drawPauses } from '../../../web/js/charts/marks.js';
import { paths, recordingArea } from '../canvas.js';
import { bucket, series } from '../frames.js';

test('buckets with values that are not finite are marked on the upper edge, close ones once', () => {
  const { area, drawn } = recordingArea();
  const nan = (x) => bucket(x, Number.NaN, { nan: 1 });
  const held = series([nan(10), nan(11), bucket(20, 1), nan(50), nan(500)]);
  drawNonFinite(area, held, held.x, 'bad');
  const tips = paths(drawn)[0].filter(([name]) => name === 'closePath');
  assert.equal(tips.length, 2);
});

test('passes are ticks on the lower edge, of which close ones share one', () => {
  const { area, drawn } = recordingArea();
  drawPasses(area, [10, 10, 12, 60, 63, 900], 'pass');
  const ticks = paths(drawn)[0].map(([, x, y]) => [x, y]);
  assert.deepEqual(ticks, [
    [10, 95],
    [60, 95],
  ]);
});

test('checkpoints are triangles on the lower edge, of which close ones share one', () => {
  const { area, drawn } = recordingArea();
  drawCheckpoints(
    area,
    [10, 12, 60, 900].map((x) => ({ x, color: 'mark', minor: true })),
  );
  const tips = paths(drawn)[0].filter(([name]) => name === 'closePath');
  assert.equal(tips.length, 2);
});

test('times without data are shaded within the plot', () => {
  const { area, drawn } = recordingArea();
  drawPauses(area, [], 'text');
  assert.deepEqual(drawn, []);
  drawPauses(
    area,
    [
      [20, 30],
      [90, 500],
    ],
    'text',
  );
  assert.deepEqual(paths(drawn)[0], [
    ['rect', 20, 0, 10, 100],
    ['rect', 90, 0, 10, 100],
  ]);
});

test('events are lines; labels that would overlap become one with their number', () => {
  const { area, drawn } = recordingArea();
  const event = (x, label) => ({ x, label, color: 'red', dash: false });
  drawEvents(area, [event(10, 'one'), event(12, 'second'), event(80, 'end'), event(300, 'outside')]);
  const labels = drawn.filter((call) => call.name === 'fillText').map((call) => call.calls[0]);
  assert.deepEqual(labels, ['one +1', 'end']);
  assert.equal(drawn.filter((call) => call.name === 'stroke').length, 3);
});
