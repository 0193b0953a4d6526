// @ts-check
/** The connection to `/ws/live`, which reconnects by itself. The only module that opens a WebSocket. */

const BACKOFF_MS = { first: 500, max: 15_000 };
/** A connection without messages for so long is checked. */
const SILENT_AFTER_MS = 15_000;

/**
 * @typedef {object} ConnectionListener
 * @property {() => void} opened called after each connect; the listener repeats its subscriptions here
 * @property {() => void} closed
 * @property {(message: any) => void} text called with each JSON message
 * @property {(buffer: ArrayBuffer) => void} binary
 */

export class LiveConnection {
  /**
   * @param {URL} root where the server is mounted
   * @param {ConnectionListener} listener
   */
  constructor(root, listener) {
    this.url = new URL('ws/live', root);
    this.url.protocol = this.url.protocol.replace('http', 'ws');
    this.listener = listener;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.failures = 0;
    this.timer = 0;
    this.heardAt = 0;
  }

  open() {
    clearTimeout(this.timer);
    const socket = new WebSocket(this.url);
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    socket.onopen = () => {
      this.failures = 0;
      this.heardAt = performance.now();
      this.listener.opened();
    };
    socket.onmessage = ({ data }) => {
      this.heardAt = performance.now();
      if (typeof data === 'string') this.listener.text(JSON.parse(data));
      else this.listener.binary(data);
    };
    socket.onclose = () => this.#lost(socket);
  }

  /**
   * Give the connection up when the server, asked because nothing has come for a while, does not answer: a network that
   * has gone closes nothing.
   * @param {() => Promise<unknown>} ask
   */
  async check(ask) {
    const { socket } = this;
    if (socket?.readyState !== WebSocket.OPEN || performance.now() - this.heardAt < SILENT_AFTER_MS) return;
    this.heardAt = performance.now();
    try {
      await ask();
    } catch {
      this.#lost(socket);
      socket.close();
    }
  }

  /** @param {WebSocket} socket */
  #lost(socket) {
    if (this.socket !== socket) return;
    this.socket = null;
    this.listener.closed();
    this.#reconnectLater();
  }

  /** Reconnect now rather than after the backoff: the network is back, or the tab is visible again. */
  reconnectNow() {
    if (this.socket === null) this.open();
  }

  /**
   * Send a message, or drop it while disconnected: `opened` repeats all subscriptions.
   * @param {object} message
   */
  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  #reconnectLater() {
    const delay = Math.min(BACKOFF_MS.max, BACKOFF_MS.first * 2 ** Math.min(this.failures, 5));
    const jitter = 0.75 + Math.random() / 2;
    this.failures += 1;
    this.timer = setTimeout(() => this.open(), delay * jitter);
  }
}
