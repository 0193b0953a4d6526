// The golden records of tests/contract/golden, read by the JavaScript example's own functions.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { decode, float64, int64 } from "../../examples/clients/node/wire.mjs";

const FOLDER = new URL("../contract/golden/", import.meta.url);
const T = 1_790_000_000_000_000_000n;
const names = readdirSync(FOLDER).filter((name) => name.endsWith(".msgpack"));
const read = (name) => decode(readFileSync(new URL(`${name}.msgpack`, FOLDER)));

for (const name of names) {
  test(`${name} is the record that it is called after`, () => {
    const { t } = decode(readFileSync(new URL(name, FOLDER)));
    assert.ok(name.startsWith(t.replace("_", "-")), t);
  });
}

test("there are golden records", () => assert.ok(names.length >= 13));

test("a greeting has its texts, its map and its time", () => {
  const hello = read("hello");
  assert.equal(hello.name, "deepfm 🚂");
  assert.deepEqual(hello.config, { lr: 0.001, tables: ["user", "item"], amp: null });
  assert.equal(hello.time_ns, T);
  assert.deepEqual(read("hello-least"), { t: "hello", run: "r", writer: "w", attempt: "a" });
});

test("the columns of points are the ones that the example writes", () => {
  const { n, dropped, records } = read("frame-points");
  const [points] = records;
  assert.deepEqual([n, dropped, points.t], [3, 12, "points"]);
  assert.deepEqual(points.keys, ["loss", "table/user/rows"]);
  assert.deepEqual(Buffer.from(points.steps), int64([7, 8, 2 ** 41]));
  assert.deepEqual(Buffer.from(points.times), int64([T, T + 1n, T + 2n]));
  assert.deepEqual(Buffer.from(points.values), float64([0.5, NaN, -Infinity, 1, 2, 1e300]));
});

test("the other records of a frame come in their order", () => {
  const { records } = read("frame-others");
  assert.deepEqual(records.map(({ t }) => t), ["pass", "line", "event", "declare", "result", "result", "status"]);
  const [pass, , , declare, applied, rejected] = records;
  assert.deepEqual([pass.rows_before, pass.evicted, pass.rows_after, pass.milliseconds], [10, 3, 7, 0.25]);
  assert.deepEqual([declare.type, declare.minimum, declare.maximum, declare.nullable], ["int", 1, undefined, true]);
  assert.deepEqual([applied.state, applied.old, applied.new], ["applied", 100, undefined]);
  assert.deepEqual([rejected.state, rejected.message], ["rejected", "no such control"]);
});

test("records of the server have what a client looks at", () => {
  assert.deepEqual(read("welcome"), { t: "welcome", acked: 2, attempt: 3 });
  assert.deepEqual(read("ack"), { t: "ack", n: 4 });
  assert.deepEqual(read("ack-unwatched"), { t: "ack", n: 3, watched: false });
  assert.deepEqual(read("command").value, { active: 3, ranks: [0] });
  assert.equal(read("refuse").retry, true);
});
