// @ts-check
/**
 * The only file that talks to the server: addresses, requests, the socket and its reconnecting.
 * Must not know what the page shows; answers go to the callbacks it is given.
 */

import { root } from './links.js';

const REQUEST_TIMEOUT_MS = 15_000;
const BACKOFF_MS = { first: 500, most: 15_000 };

/** A request that was answered with an error, or (status 0) not answered at all. */
export class RequestError extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {string | null} field */
  constructor(status, code, message, field = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.field = field;
  }
}

let skew = 0;

/** Seconds by which the server's clock is ahead of this one, 0 while it is not known to differ. */
export const clockSkew = () => skew;

/** @param {Response} response */
function readClock(response) {
  const header = response.headers.get('date');
  if (!header) return;
  const ahead = (Date.parse(header) + 500 - Date.now()) / 1000;
  skew = Math.abs(ahead) > 3 ? ahead : 0;
}

/** @param {string} path below `/api/v1/` @param {{method?: string, body?: object, signal?: AbortSignal}} [options] @returns {Promise<any>} */
async function request(path, { method = 'GET', body, signal } = {}) {
  const limit = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  let response;
  try {
    response = await fetch(new URL(`api/v1/${path}`, root), {
      method,
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      headers: body ? { 'content-type': 'application/json', accept: 'application/json' } : { accept: 'application/json' },
      body: body ? JSON.stringify(body) : undefined,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new RequestError(0, 'unreachable', 'The server cannot be reached.');
  }
  readClock(response);
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  const said = answer?.error ?? {};
  throw new RequestError(response.status, said.code ?? 'http', said.message ?? `The server answered ${response.status}.`, said.field ?? null);
}

const id = encodeURIComponent;
const query = (/** @type {Record<string, unknown>} */ values) => {
  const set = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) for (const one of [value].flat()) if (one !== '' && one !== null) set.append(name, String(one));
  return `?${set}`;
};

export const api = {
  runs: (/** @type {Record<string, unknown>} */ filter, /** @type {AbortSignal} */ signal) => request(`runs${query(filter)}`, { signal }),
  run: (/** @type {string} */ run, /** @type {AbortSignal} */ signal) => request(`runs/${id(run)}`, { signal }),
  metrics: (/** @type {string} */ run, /** @type {AbortSignal} */ signal) => request(`runs/${id(run)}/metrics`, { signal }),
  filters: (/** @type {string} */ run, /** @type {AbortSignal} */ signal) => request(`runs/${id(run)}/filters`, { signal }),
  controls: (/** @type {string} */ run, /** @type {AbortSignal} */ signal) => request(`runs/${id(run)}/controls`, { signal }),
  commands: (/** @type {string} */ run, /** @type {AbortSignal} */ signal) => request(`runs/${id(run)}/commands`, { signal }),
  events: (/** @type {string} */ run, /** @type {AbortSignal} */ signal) => request(`runs/${id(run)}/events`, { signal }),
  traces: (/** @type {string} */ run, /** @type {AbortSignal} */ signal) => request(`runs/${id(run)}/traces`, { signal }),
  /** @param {string} run @param {string} control @param {{value: unknown, reason: string, id: string}} body */
  put: (run, control, body) => request(`runs/${id(run)}/controls/${id(control)}`, { method: 'PUT', body }),
};

/**
 * The socket of this tab. Stays up by itself: after a loss it tries again in 0.5 s to 15 s, with jitter.
 * @typedef {{opened: () => void, closed: () => void, text: (message: any) => void, binary: (buffer: ArrayBuffer) => void}} Listener
 */
export class Live {
  /** @param {Listener} listener */
  constructor(listener) {
    this.listener = listener;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.failures = 0;
    this.timer = 0;
  }

  open() {
    clearTimeout(this.timer);
    const url = new URL('ws/live', root);
    url.protocol = url.protocol.replace('http', 'ws');
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    socket.onopen = () => {
      this.failures = 0;
      this.listener.opened();
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === 'string') this.listener.text(JSON.parse(data));
      else this.listener.binary(data);
    };
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.socket = null;
      this.listener.closed();
      const wait = Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** Math.min(this.failures, 5));
      this.failures += 1;
      this.timer = setTimeout(() => this.open(), wait * (0.75 + Math.random() / 2));
    };
  }

  /** Tries at once: the network is back, or the tab is in front again. */
  hurry() {
    if (this.socket === null) this.open();
  }

  /** Sends when the socket is up; the owner repeats its wishes in `opened`, so that a lost message costs nothing. @param {object} message */
  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}
