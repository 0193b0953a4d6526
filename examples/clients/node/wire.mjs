/**
 * Bytes of the protocol: a record is a MessagePack map, a column of numbers is little-endian binary.
 */
import { decode as unpack, encode as pack } from "@msgpack/msgpack";

/** A record as the bytes of one WebSocket message; fields that are undefined are left out, BigInts become int64. */
export const encode = (record) => pack(record, { ignoreUndefined: true, useBigInt64: true });

/** The record in one WebSocket message. Integers that need 64 bits, such as times, are BigInts. */
export const decode = (bytes) => unpack(bytes, { useBigInt64: true });

/** Integers as a column, for `steps` and `times`. */
export function int64(values) {
  const column = Buffer.alloc(8 * values.length);
  values.forEach((value, i) => column.writeBigInt64LE(BigInt(value), 8 * i));
  return column;
}

/** Numbers as a column, for `values`: all of the first key, then all of the second, and so on. */
export function float64(values) {
  const column = Buffer.alloc(8 * values.length);
  values.forEach((value, i) => column.writeDoubleLE(value, 8 * i));
  return column;
}
