import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeFrame } from '../../../web/js/data/frames.js';
import { bucket, encodeFrame } from '../frames.js';

test('columns are views of the message', () => {
  const buffer = encodeFrame({ width: 4 }, [{ key: 'loß/é', rank: 3, rows: [bucket(0, 1), bucket(4, 2)] }]);
  const frame = decodeFrame(buffer);
  assert.equal(frame.type, 'snapshot');
  const [series] = frame.series;
  assert.deepEqual([series.key, series.rank, series.width], ['loß/é', 3, 4]);
  assert.deepEqual([...series.x], [0, 4]);
  assert.deepEqual([...series.last], [1, 2]);
  assert.equal(series.mean.buffer, buffer);
});

test('a truncated or unknown frame is rejected with what was expected', () => {
  assert.throws(() => decodeFrame(new ArrayBuffer(2)), /expected a 4-byte header length, got a message of 2 bytes/);
  assert.throws(() => decodeFrame(encodeFrame({}, []).slice(0, 20)), /expected a header of \d+ bytes/);
  assert.throws(() => decodeFrame(encodeFrame({ v: 2 }, [])), /expected version 1, got 2/);
});
