// Decoding, merging and reading of chart data.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rankLines, summary } from '../../web/js/picture.js';
import {
  COLUMNS,
  current,
  decodeFrame,
  extent,
  lastValue,
  mergeDelta,
  nearest,
  nonFinite,
  SeriesStore,
  smooth,
  supersededPoints,
  total,
  valueRange,
} from '../../web/js/series.js';

/** A frame as docs/protocol.md lays it out. */
function encode(head, series) {
  const data = [];
  const parts = series.map(({ key, rank = 0, attempt = 1, superseded = false, rows }) => {
    const offset = data.length * 8;
    for (let column = 0; column < COLUMNS.length; column++) for (const row of rows) data.push(row[column]);
    return { key, rank, attempt, superseded, n: rows.length, offset };
  });
  let text = JSON.stringify({ v: 1, id: 1, run: 'r', width: 1, start: null, stop: null, ...head, series: parts });
  while ((4 + new TextEncoder().encode(text).length) % 8) text += ' ';
  const bytes = new TextEncoder().encode(text);
  const buffer = new ArrayBuffer(4 + bytes.length + data.length * 8);
  new DataView(buffer).setUint32(0, bytes.length, true);
  new Uint8Array(buffer, 4).set(bytes);
  new Float64Array(buffer, 4 + bytes.length).set(data);
  return buffer;
}

/** x, time, min, max, mean, last, count, nan */
const row = (x, value, extra = {}) => [
  x,
  x / 10,
  extra.min ?? value,
  extra.max ?? value,
  value,
  value,
  extra.count ?? 1,
  extra.nan ?? 0,
];
const series = (rows, more = {}) =>
  decodeFrame(encode({ type: 'snapshot', ...more }, [{ key: 'loss', rows }])).series[0];

test('a frame is read as views on its own bytes', () => {
  const buffer = encode({ type: 'snapshot', width: 4 }, [{ key: 'loß/é', rank: 3, rows: [row(0, 1), row(4, 2)] }]);
  const frame = decodeFrame(buffer);
  assert.equal(frame.type, 'snapshot');
  assert.equal(frame.series[0].key, 'loß/é');
  assert.equal(frame.series[0].rank, 3);
  assert.equal(frame.series[0].width, 4);
  assert.deepEqual([...frame.series[0].x], [0, 4]);
  assert.deepEqual([...frame.series[0].last], [1, 2]);
  assert.equal(frame.series[0].mean.buffer, buffer);
});

test('a cut or foreign frame is refused with what was expected', () => {
  assert.throws(() => decodeFrame(new ArrayBuffer(2)), /expected a head length/);
  assert.throws(() => decodeFrame(encode({ type: 'snapshot' }, []).slice(0, 20)), /the head says/);
  assert.throws(() => decodeFrame(encode({ type: 'snapshot', v: 2 }, [])), /expected version 1, got 2/);
});

test('a delta replaces the bucket with the same x, appends new ones and inserts late ones', () => {
  const held = series([row(0, 1), row(4, 2)]);
  mergeDelta(held, series([row(2, 7), row(4, 9), row(6, 3)]));
  assert.deepEqual([...held.x.subarray(0, held.n)], [0, 2, 4, 6]);
  assert.deepEqual([...held.mean.subarray(0, held.n)], [1, 7, 9, 3]);
});

test('many deltas give what one snapshot of everything gives', () => {
  const held = series([]);
  for (let i = 0; i < 1000; i++) mergeDelta(held, series([row(i, i % 7)]));
  assert.equal(held.n, 1000);
  assert.ok([...held.x.subarray(0, held.n)].every((x, i) => x === i));
});

test('a snapshot replaces, and an empty one empties, what is held of its keys', () => {
  const store = new SeriesStore();
  store.apply(decodeFrame(encode({ type: 'snapshot' }, [{ key: 'a', rows: [row(0, 1)] }])), ['a', 'b']);
  assert.equal(lastValue(store.get('r', 'a')), 1);
  const changed = store.apply(decodeFrame(encode({ type: 'snapshot' }, [])), ['a', 'b']);
  assert.deepEqual([...changed].sort(), ['a', 'b']);
  assert.equal(lastValue(store.get('r', 'a')), null);
});

test('a delta with another rank is another line', () => {
  const store = new SeriesStore();
  store.apply(decodeFrame(encode({ type: 'snapshot' }, [{ key: 'a', rows: [row(0, 1)] }])), ['a']);
  store.apply(decodeFrame(encode({ type: 'delta' }, [{ key: 'a', rank: 1, rows: [row(0, 5)] }])), ['a']);
  assert.deepEqual(
    store.get('r', 'a').map((s) => [s.rank, s.n]),
    [
      [0, 1],
      [1, 1],
    ],
  );
});

test('what was superseded lies before what counts, is left alone by deltas, and counts nowhere', () => {
  const store = new SeriesStore();
  const lost = { key: 'a', attempt: 2, superseded: true, rows: [row(1, 90), row(2, 91, { nan: 1, count: 2 })] };
  store.apply(
    decodeFrame(encode({ type: 'snapshot' }, [{ key: 'a', attempt: 1, rows: [row(0, 1), row(2, 3)] }, lost])),
    ['a'],
  );
  store.apply(decodeFrame(encode({ type: 'delta' }, [{ key: 'a', attempt: 1, rows: [row(4, 5)] }])), ['a']);
  const held = store.get('r', 'a');
  assert.deepEqual(
    held.map((s) => [s.superseded, s.attempt, [...s.x.subarray(0, s.n)]]),
    [
      [true, 2, [1, 2]],
      [false, 1, [0, 2, 4]],
    ],
  );
  assert.deepEqual(
    current(held).map((s) => s.attempt),
    [1],
  );
  assert.equal(supersededPoints(held), 3);
  assert.equal(nonFinite(held), 0);
  assert.equal(lastValue(held), 5);
  assert.deepEqual([...total(held).mean], [1, 3, 5]);
  assert.equal(total([held[0]]), null);
});

test('a ghost is drawn first, dashed, and told of in words', () => {
  const lost = decodeFrame(encode({ type: 'snapshot' }, [{ key: 'loss', superseded: true, rows: [row(1, 900)] }]))
    .series[0];
  const list = [lost, series([row(0, 1), row(1, 2)])];
  const colors = { series: ['red'], wash: ['pink'] };
  const [ghost, line] = rankLines(list, colors);
  assert.deepEqual([ghost.ghost, ghost.color, line.ghost, line.color, line.dash], [true, 'red', false, 'red', []]);
  assert.ok(ghost.dash.length);
  assert.match(summary('loss', list, null), /lowest 1, highest 2, .*, 1 superseded point behind it$/);
  assert.doesNotMatch(summary('loss', [list[1]], null), /superseded/);
});

test('smoothing starts at the first value, keeps a constant and invents nothing for NaN', () => {
  assert.deepEqual(
    [...smooth(Float64Array.of(3, 3, 3), 3, 0.9)].map((v) => Number(v.toFixed(12))),
    [3, 3, 3],
  );
  const out = smooth(Float64Array.of(1, NaN, 5), 3, 0.5);
  assert.equal(out[0], 1);
  assert.ok(Number.isNaN(out[1]));
  assert.ok(out[2] > 1 && out[2] < 5);
});

test('the range of a chart comes from the extremes, not from the means', () => {
  const one = series([row(0, 1, { min: 0.5, max: 40 }), row(8, 2)]);
  assert.deepEqual(valueRange([one], 0, 8, false), [0.5, 40]);
  assert.deepEqual(valueRange([series([row(0, 1, { min: -2 })])], 0, 8, true), [1, 1]);
  assert.equal(valueRange([series([row(0, NaN)])], 0, 8, false), null);
});

test('values that are not finite are counted', () => {
  assert.equal(nonFinite([series([row(0, NaN, { count: 3, nan: 2 }), row(1, 1)])]), 2);
});

test('the crosshair finds the closest bucket', () => {
  const xs = [0, 10, 20];
  assert.deepEqual(
    [-5, 4, 6, 15, 99].map((x) => nearest(xs, 3, x)),
    [0, 0, 1, 1, 2],
  );
  assert.equal(nearest(xs, 0, 1), -1);
});

test('the extent covers the whole last bucket', () => {
  assert.deepEqual(extent([series([row(0, 1), row(8, 1)], { width: 8 })], 'step'), [0, 15]);
  assert.deepEqual(extent([series([row(0, 1), row(8, 1)], { width: 8 })], 'time'), [0, 0.8]);
  assert.equal(extent([], 'step'), null);
});

test('ranks add up bucket by bucket', () => {
  const sum = total([series([row(0, 2, { count: 3 }), row(4, 1)]), series([row(4, 5)])]);
  assert.deepEqual([...sum.x], [0, 4]);
  assert.deepEqual([...sum.mean], [6, 6]);
  assert.equal(total([]), null);
});
