import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import { LiveConnection } from '../../../web/js/data/connection.js';

class FakeSocket {
  static OPEN = 1;
  static made = [];
  sent = [];
  readyState = 0;
  constructor(url) {
    this.url = String(url);
    FakeSocket.made.push(this);
  }
  send(text) {
    this.sent.push(text);
  }
  accept() {
    this.readyState = FakeSocket.OPEN;
    this.onopen();
  }
}

beforeEach(() => {
  FakeSocket.made = [];
  globalThis.WebSocket = FakeSocket;
});

function recordedConnection(url = 'https://host/monitor/') {
  const calls = [];
  const listener = {
    opened: () => calls.push('opened'),
    closed: () => calls.push('closed'),
    text: (message) => calls.push(message),
    binary: (buffer) => calls.push(buffer.byteLength),
  };
  return { connection: new LiveConnection(new URL(url), listener), calls };
}

test('it connects below the root, and passes messages on by their kind', () => {
  const { connection, calls } = recordedConnection();
  connection.open();
  const [socket] = FakeSocket.made;
  assert.equal(socket.url, 'wss://host/monitor/ws/live');
  connection.send({ early: true });
  socket.accept();
  socket.onmessage({ data: '{"type":"hello"}' });
  socket.onmessage({ data: new ArrayBuffer(3) });
  connection.send({ type: 'watch' });
  assert.deepEqual(calls, ['opened', { type: 'hello' }, 3]);
  assert.deepEqual(socket.sent, ['{"type":"watch"}']);
});

test('a connection that is silent is given up when the server does not answer', async () => {
  const { connection, calls } = recordedConnection();
  let asked = 0;
  const ask = async () => {
    asked += 1;
    throw new Error('no answer');
  };
  connection.open();
  const [socket] = FakeSocket.made;
  socket.close = () => calls.push('socket closed');
  await connection.check(ask);
  socket.accept();
  await connection.check(ask);
  assert.equal(asked, 0);
  connection.heardAt = performance.now() - 60_000;
  await connection.check(async () => {});
  connection.heardAt = performance.now() - 60_000;
  await connection.check(ask);
  clearTimeout(connection.timer);
  assert.deepEqual(calls, ['opened', 'closed', 'socket closed']);
});

test('it reconnects after a growing, bounded delay, and at once on request', () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const { connection, calls } = recordedConnection('http://host/');
    connection.open();
    assert.equal(FakeSocket.made[0].url, 'ws://host/ws/live');
    for (let failures = 1; failures < 10; failures++) {
      FakeSocket.made.at(-1).onclose();
      mock.timers.tick(300);
      assert.equal(FakeSocket.made.length, failures);
      mock.timers.tick(20_000);
      assert.equal(FakeSocket.made.length, failures + 1);
    }
    FakeSocket.made.at(-1).onclose();
    connection.reconnectNow();
    connection.reconnectNow();
    assert.equal(FakeSocket.made.length, 11);
    assert.ok(calls.every((call) => call === 'closed'));
  } finally {
    mock.timers.reset();
  }
});
