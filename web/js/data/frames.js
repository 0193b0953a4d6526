// @ts-check
/** Decodes the binary messages of `/ws/live` (docs/protocol.md). Pure. */
import { ALL_RANKS, COLUMNS } from './series.js';

/**
 * Decode one binary message. The columns are views of `buffer`, not copies.
 * @param {ArrayBuffer} buffer
 * @returns {Frame}
 */
export function decodeFrame(buffer) {
  if (buffer.byteLength < 4) {
    throw new RangeError(`frame: expected a 4-byte header length, got a message of ${buffer.byteLength} bytes`);
  }
  const size = new DataView(buffer).getUint32(0, true);
  const base = 4 + size;
  if (base > buffer.byteLength) {
    throw new RangeError(`frame: expected a header of ${size} bytes, got a message of ${buffer.byteLength} bytes`);
  }
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  if (header.v !== 1) throw new RangeError(`frame: expected version 1, got ${header.v}`);
  const { type, id, run, width, start, stop } = header;
  const series = header.series.map((/** @type {any} */ part) => decodeSeries(buffer, base, part, width));
  return { type, id, run, width, start, stop, series };
}

/**
 * Decode one series; an envelope over ranks gets the rank -1.
 * @param {ArrayBuffer} buffer
 * @param {number} base where the columns begin
 * @param {any} part the header of the series
 * @param {number} width
 * @returns {Series}
 */
function decodeSeries(buffer, base, { key, rank, attempt = 1, superseded, n, offset }, width) {
  const columns = COLUMNS.map((name, i) => [name, new Float64Array(buffer, base + offset + i * n * 8, n)]);
  return {
    key,
    rank: rank ?? ALL_RANKS,
    attempt,
    superseded: superseded === true,
    n,
    width,
    ...Object.fromEntries(columns),
  };
}
