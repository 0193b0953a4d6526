// Builds the binary frames of docs/protocol.md, and series from them.
import { decodeFrame } from '../../web/js/data/frames.js';
import { COLUMNS } from '../../web/js/data/series.js';

/** Encode a frame; each part has a key and rows of eight columns. */
export function encodeFrame(header, parts) {
  const data = [];
  const series = parts.map(({ rows, ...part }) => {
    const offset = data.length * 8;
    for (let column = 0; column < COLUMNS.length; column++) for (const values of rows) data.push(values[column]);
    return { rank: 0, attempt: 1, superseded: false, ...part, n: rows.length, offset };
  });
  const defaults = { v: 1, type: 'snapshot', id: 1, run: 'r', width: 1, start: null, stop: null };
  let text = JSON.stringify({ ...defaults, ...header, series });
  while ((4 + new TextEncoder().encode(text).length) % 8) text += ' ';
  const bytes = new TextEncoder().encode(text);
  const buffer = new ArrayBuffer(4 + bytes.length + data.length * 8);
  new DataView(buffer).setUint32(0, bytes.length, true);
  new Uint8Array(buffer, 4).set(bytes);
  new Float64Array(buffer, 4 + bytes.length).set(data);
  return buffer;
}

/** The columns x, time, min, max, mean, last, count and nan of one bucket. */
export const bucket = (x, value, { min = value, max = value, count = 1, nan = 0 } = {}) => [
  ...[x, x / 10, min, max],
  ...[value, value, count, nan],
];

/** A decoded frame. */
export const frame = (header, parts) => decodeFrame(encodeFrame(header, parts));

/** One decoded series of these buckets. */
export const series = (rows, part = {}, header = {}) => frame(header, [{ key: 'loss', rows, ...part }]).series[0];
