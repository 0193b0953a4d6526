import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawSparkline } from '../../../web/js/charts/sparkline.js';
import { paths, recordingContext } from '../canvas.js';
import { bucket, series } from '../frames.js';

function recordingCanvas() {
  const drawn = [];
  const context = recordingContext(drawn);
  return { canvas: { clientWidth: 100, clientHeight: 20, width: 0, height: 0, getContext: () => context }, drawn };
}

test('a sparkline fills its canvas at the resolution of the screen', () => {
  const { canvas, drawn } = recordingCanvas();
  drawSparkline(canvas, series([bucket(0, 1), bucket(10, 3)]), 'red', 2);
  assert.deepEqual([canvas.width, canvas.height], [200, 40]);
  assert.deepEqual(paths(drawn, 'stroke')[0], [
    ['moveTo', 4, 36],
    ['lineTo', 196, 4],
  ]);
});

test('a constant is a line in the middle, and nothing clears the canvas', () => {
  const { canvas, drawn } = recordingCanvas();
  drawSparkline(canvas, series([bucket(0, 3), bucket(10, 3)]), 'red', 1);
  assert.deepEqual(paths(drawn, 'stroke')[0][0], ['moveTo', 2, 10]);
  drawn.length = 0;
  drawSparkline(canvas, undefined, 'red', 1);
  assert.deepEqual(
    drawn.map((call) => call.name),
    ['clearRect'],
  );
});
