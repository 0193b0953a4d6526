import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawEvents, drawNonFinite, drawPasses } from '../../../web/js/charts/marks.js';
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

test('passes are ticks on the lower edge', () => {
  const { area, drawn } = recordingArea();
  drawPasses(area, [10, 10, 60, 900], 'pass');
  const ticks = paths(drawn)[0].map(([, x, y]) => [x, y]);
  assert.deepEqual(ticks, [
    [10, 95],
    [60, 95],
  ]);
});

test('events are lines with labels that do not overlap', () => {
  const { area, drawn } = recordingArea();
  const event = (x, label) => ({ x, label, color: 'red', dash: false });
  drawEvents(area, [event(10, 'first one'), event(12, 'hidden'), event(80, 'end'), event(300, 'outside')]);
  const labels = drawn.filter((call) => call.name === 'fillText').map((call) => call.calls[0]);
  assert.deepEqual(labels, ['first one', 'end']);
  assert.equal(drawn.filter((call) => call.name === 'stroke').length, 3);
});
