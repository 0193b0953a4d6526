/**
 * A client of recis-monitor, written from docs/protocol.md alone: streams records, and hands on commands.
 *
 * Nothing is lost or stored twice when the server goes away and comes back: a frame keeps its number and its bytes
 * until the server says that it has committed it.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import WebSocket from "ws";
import { decode, encode, float64, int64 } from "./wire.mjs";

const FLUSH_MS = 250;
const MAX_ROWS = 5000; // in one frame, to keep it below the server's limit of 4 MiB with up to 100 metrics
const MAX_HELD = 5000; // frames; with the server away for longer (about 20 minutes) new points are lost, and counted
const BACKOFF_MS = { first: 500, last: 15_000 };
const SILENCE_MS = 60_000; // the server pings every 20 s: after three missed ones the connection is dead
const now = () => BigInt(Date.now()) * 1_000_000n; // nanoseconds since 1970: more than a Number holds

/** One stream of frames. `log` and `report` only collect: a timer makes frames of it, and sends them. */
export class Client {
  #held = []; // frames that are not acknowledged, oldest first: {n, bytes}
  #next = 1; // number of the next frame
  #records = []; // for the next frame
  #tables = new Map(); // for the next frame: names of metrics -> {keys, steps, times, rows}
  #rows = 0; // for the next frame
  #dropped = 0; // points lost so far
  #sent = 0; // highest number sent on this connection
  #window = 0; // bytes that this connection may carry unacknowledged; 0 until the server has greeted
  #known = new Set(); // commands: one that is not answered comes again after a reconnect
  #delay = BACKOFF_MS.first;

  /** @param hello fields of the record `hello`; @param onCommand called once with each record `command` */
  constructor(url, { token, onCommand, ...hello }) {
    this.url = `${url.replace(/^http/, "ws").replace(/\/$/, "")}/ws/ingest`;
    this.options = { headers: token ? { Authorization: `Bearer ${token}` } : {}, perMessageDeflate: false };
    this.onCommand = onCommand;
    // A new writer at each start of the program: its numbers must not outlive the frames, which are only in memory.
    const ids = { writer: randomUUID(), attempt: randomUUID() };
    this.hello = { t: "hello", ...ids, client: "node-example", started_ns: now(), ...hello };
    this.timer = setInterval(() => this.#flush(), FLUSH_MS);
    this.#connect();
  }

  /** Values of one step, as {name: number}. */
  log(step, metrics) {
    const keys = Object.keys(metrics);
    if (this.#held.length >= MAX_HELD) return void (this.#dropped += keys.length);
    const name = JSON.stringify(keys);
    if (!this.#tables.has(name)) this.#tables.set(name, { keys, steps: [], times: [], rows: [] });
    const { steps, times, rows } = this.#tables.get(name);
    steps.push(step);
    times.push(now());
    rows.push(Object.values(metrics));
    if (++this.#rows >= MAX_ROWS) this.#cut();
  }

  /** Any other record of a frame: `declare`, `result`, `event`, `line`, `status`. */
  report(record) {
    this.#records.push({ time_ns: now(), ...record });
  }

  /** Says how it ended and waits until all is stored; false when the server refuses, or does not answer in time. */
  async finish(state = "finished", timeoutMs = 60_000) {
    this.report({ t: "status", state });
    this.#flush();
    const end = Date.now() + timeoutMs;
    while (this.#held.length && !this.refusal && Date.now() < end) await sleep(20);
    this.done = true;
    clearInterval(this.timer);
    this.socket.close(1000);
    return this.#held.length === 0;
  }

  /** Makes a frame of what was collected. Its bytes never change again, on whichever connection they go. */
  #cut() {
    const records = this.#records;
    for (const { keys, steps, times, rows } of this.#tables.values()) {
      const values = keys.flatMap((_, column) => rows.map((row) => row[column])); // key after key
      records.push({ t: "points", keys, steps: int64(steps), times: int64(times), values: float64(values) });
    }
    if (!records.length) return;
    const n = this.#next++;
    this.#held.push({ n, bytes: encode({ t: "frame", n, records, dropped: this.#dropped }) });
    this.#records = [];
    this.#tables.clear();
    this.#rows = 0;
  }

  /** Sends what the window allows, in the order of the numbers. */
  #flush() {
    this.#cut();
    let inFlight = 0;
    for (const { n, bytes } of this.#held) {
      if (inFlight >= this.#window) return;
      inFlight += bytes.length;
      if (n > this.#sent) this.socket.send(bytes);
      this.#sent = Math.max(n, this.#sent);
    }
  }

  #connect() {
    if (this.done) return;
    const socket = (this.socket = new WebSocket(this.url, this.options));
    const silence = setTimeout(() => socket.terminate(), SILENCE_MS);
    const first = () => this.#held[0]?.n ?? this.#next;
    socket.on("open", () => socket.send(encode({ ...this.hello, first: first(), time_ns: now() })));
    socket.on("ping", () => silence.refresh());
    socket.on("message", (bytes) => this.#receive(decode(bytes)));
    socket.on("error", (error) => console.error(`no connection to ${this.url}: ${error.message || error.code}`));
    socket.on("close", () => {
      clearTimeout(silence);
      this.#window = 0; // nothing may go before the next greeting
      if (this.refusal) return;
      setTimeout(() => this.#connect(), this.#delay * (0.7 + 0.6 * Math.random()));
      this.#delay = Math.min(2 * this.#delay, BACKOFF_MS.last);
    });
  }

  #receive(record) {
    switch (record.t) {
      case "welcome":
        this.#window = record.window_bytes ?? 8 << 20;
        this.#sent = record.acked; // what the server has not committed goes again
        this.#delay = BACKOFF_MS.first;
        return this.#free(record.acked);
      case "ack":
        return this.#free(record.n);
      case "command":
        this.socket.send(encode({ t: "seen", command: record.id }));
        if (!this.#known.has(record.id)) this.onCommand(record);
        return void this.#known.add(record.id);
      case "refuse":
        console.error(`refused (${record.code}): ${record.message}`);
        if (!record.retry) this.refusal = record;
    }
  }

  /** All up to `acked` is committed. */
  #free(acked) {
    this.#held = this.#held.filter(({ n }) => n > acked);
    this.#flush();
  }
}
