// @ts-check
/** The client of the HTTP API. The only module that calls `fetch`; knows neither state nor views. */

const TIMEOUT_MS = 15_000;
const MIN_CLOCK_SKEW_S = 3;
/** How many filter passes are loaded, the newest ones. */
const MAX_PASSES = 2000;

/** A request that was answered with an error, or (status 0) not answered at all. */
export class RequestError extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   * @param {string | null} field
   */
  constructor(status, code, message, field = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.field = field;
  }
}

/** @typedef {{method?: string, body?: object, signal?: AbortSignal, accept?: string}} RequestOptions */

/** @param {Record<string, unknown>} parameters */
function queryString(parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const item of [value].flat()) if (item !== '' && item !== null) query.append(name, String(item));
  }
  return `?${query}`;
}

/** @param {string} run */
const runPath = (run) => `runs/${encodeURIComponent(run)}`;

export class ApiClient {
  /** @param {URL} root where the server is mounted */
  constructor(root) {
    this.root = root;
    /** Seconds by which the server's clock is ahead of the browser's; 0 for a small difference. */
    this.clockSkew = 0;
  }

  /** Return the server's time, in seconds since the epoch. */
  now() {
    return Date.now() / 1000 + this.clockSkew;
  }

  /**
   * Return series of a run in the binary layout.
   * @param {string} run
   * @param {Record<string, unknown>} query
   * @param {AbortSignal} [signal]
   * @returns {Promise<ArrayBuffer>}
   */
  async series(run, query, signal) {
    const path = `${runPath(run)}/series${queryString(query)}`;
    const response = await this.#fetch(path, { signal, accept: 'application/octet-stream' });
    if (response.ok) return response.arrayBuffer();
    throw new RequestError(response.status, 'http', `The server responded with status ${response.status}.`);
  }

  /** Return what the server says about itself: a question that every server answers at once. */
  meta() {
    return this.#request('meta', {});
  }

  /**
   * Return a page of the list of runs.
   * @param {Record<string, unknown>} filter
   * @param {AbortSignal} [signal]
   */
  runs(filter, signal) {
    return this.#request(`runs${queryString(filter)}`, { signal });
  }

  /**
   * @param {string} run
   * @param {AbortSignal} [signal]
   */
  run(run, signal) {
    return this.#request(runPath(run), { signal });
  }

  /**
   * Change a run; return it.
   * @param {string} run
   * @param {RunChange} change
   * @returns {Promise<Run>}
   */
  updateRun(run, change) {
    return this.#request(runPath(run), { method: 'PATCH', body: change });
  }

  /**
   * Delete a run.
   * @param {string} run
   * @param {number} grace seconds in which it can be restored
   */
  deleteRun(run, grace) {
    return this.#request(`${runPath(run)}${queryString({ grace })}`, { method: 'DELETE' });
  }

  /**
   * Undo the deletion of a run; return the run.
   * @param {string} run
   * @returns {Promise<Run>}
   */
  restoreRun(run) {
    return this.#request(`${runPath(run)}/restore`, { method: 'POST' });
  }

  /**
   * Return one of the lists of a run.
   * @param {string} run
   * @param {'metrics' | 'filters' | 'controls' | 'commands' | 'events' | 'traces'} list
   * @param {AbortSignal} [signal]
   */
  list(run, list, signal) {
    const limit = list === 'filters' ? `?limit=${MAX_PASSES}` : '';
    return this.#request(`${runPath(run)}/${list}${limit}`, { signal });
  }

  /**
   * Return what the processes of an attempt say about themselves.
   * @param {string} run
   * @param {number | null} attempt its number, the latest when null
   * @param {AbortSignal} [signal]
   * @returns {Promise<InfoAnswer>}
   */
  info(run, attempt, signal) {
    return this.#request(`${runPath(run)}/info${attempt === null ? '' : queryString({ attempt })}`, { signal });
  }

  /**
   * Return lines of a run's log.
   * @param {string} run
   * @param {Record<string, unknown>} query
   * @param {AbortSignal} [signal]
   * @returns {Promise<LogAnswer>}
   */
  lines(run, query, signal) {
    return this.#request(`${runPath(run)}/logs${queryString(query)}`, { signal });
  }

  /**
   * Request a value for a control; return the command.
   * @param {string} run
   * @param {string} control
   * @param {{value: unknown, reason: string, id: string}} body
   */
  setControl(run, control, body) {
    return this.#request(`${runPath(run)}/controls/${encodeURIComponent(control)}`, { method: 'PUT', body });
  }

  /**
   * Ask for the values that were there before a command; return the new command.
   * @param {string} run
   * @param {string} command
   */
  revert(run, command) {
    return this.#request(`${runPath(run)}/commands/${encodeURIComponent(command)}/revert`, {
      method: 'POST',
      body: {},
    });
  }

  /**
   * Return what a command has changed.
   * @param {string} run
   * @param {string} command
   * @returns {Promise<Effect>}
   */
  effect(run, command) {
    return this.#request(`${runPath(run)}/commands/${encodeURIComponent(command)}/effect`, {});
  }

  /**
   * Return what a filter interval would mean.
   * @param {string} run
   * @param {number} interval
   * @returns {Promise<Forecast>}
   */
  forecast(run, interval) {
    return this.#request(`${runPath(run)}/filters/forecast${queryString({ filter_interval: interval })}`, {});
  }

  /**
   * @param {string} path relative to `/api/v1/`
   * @param {RequestOptions} options
   * @returns {Promise<any>}
   */
  async #request(path, options) {
    const response = await this.#fetch(path, options);
    this.#readClock(response);
    const answer = await response.json().catch(() => null);
    if (response.ok) return answer;
    const { code = 'http', message, field } = answer?.error ?? {};
    const text = message ?? `The server responded with status ${response.status}.`;
    throw new RequestError(response.status, code, text, field ?? null);
  }

  /**
   * @param {string} path
   * @param {RequestOptions} options
   */
  async #fetch(path, { method = 'GET', body, signal, accept = 'application/json' }) {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    try {
      return await fetch(new URL(`api/v1/${path}`, this.root), {
        method,
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
        headers: body ? { accept, 'content-type': 'application/json' } : { accept },
        body: body ? JSON.stringify(body) : undefined,
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new RequestError(0, 'unreachable', 'The server cannot be reached.');
    }
  }

  /** @param {Response} response */
  #readClock(response) {
    const header = response.headers.get('date');
    if (!header) return;
    // The header has whole seconds: half a second is its mean error.
    const ahead = (Date.parse(header) + 500 - Date.now()) / 1000;
    this.clockSkew = Math.abs(ahead) > MIN_CLOCK_SKEW_S ? ahead : 0;
  }
}
