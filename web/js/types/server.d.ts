/**
 * What the server sends, for the type check only: the browser never loads this file. `docs/http.md` and
 * `docs/protocol.md` describe every field.
 */

type RunState = 'running' | 'stalled' | 'disconnected' | 'finished' | 'failed';

interface Run {
  id: string;
  project: string;
  name: string;
  state: RunState;
  /** The last message of a failed run. */
  message: string;
  created_at: string;
  updated_at: string;
  ranks: number[];
  world_size: number;
  attempts: number;
  last_step: number | null;
  summary: Record<string, number | string | null>;
  tags: string[];
  config: Record<string, unknown>;
  received: { points: number; missing: number; dropped: number };
}

interface Metric {
  key: string;
  ranks: number[];
  count: number;
  first_step: number;
  last_step: number;
  last_value: number | string | null;
  nan_count: number;
}

interface FilterPass {
  step: number;
  /** Seconds since the epoch. */
  time: number;
  rank: number;
  table: string;
  interval: number | null;
  rows_before: number;
  evicted: number;
  rows_after: number;
  admitted: number;
  milliseconds: number;
  bytes: number;
}

interface Control {
  name: string;
  /** int, float, bool, str, profile. */
  type: string;
  value: unknown;
  desired: unknown;
  minimum: number | null;
  maximum: number | null;
  nullable: boolean;
  unit: string;
  description?: string;
  ranks: Record<string, { value: unknown; step: number | null }>;
}

interface Command {
  id: string;
  control: string;
  value: unknown;
  /** pending, delivered, applied, rejected, expired. */
  state: string;
  requested_by: string;
  requested_at: string;
  reason: string;
  apply_at_step: number | null;
  ranks: Record<string, { state?: string; old?: unknown; new?: unknown; step?: number | null; message?: string }>;
}

interface RunEvent {
  /** The same when the event is sent again because it has occurred again. */
  id: number;
  kind: string;
  level: string;
  /** Seconds since the epoch. */
  time: number;
  step: number | null;
  rank?: number | null;
  text: string;
  data?: unknown;
}

interface TraceOperator {
  name: string;
  calls: number;
  self_ms: number;
  total_ms: number;
}

interface Trace {
  id: string;
  name: string;
  rank: number;
  step: number;
  size: number;
  sha256: string;
  /** uploading, ready, lost. */
  state: string;
  created_at: string;
  /** pending, ready, failed. */
  summary_state: string;
  summary_error: string | null;
  summary: {
    steps?: number;
    wall_ms?: number;
    events?: number;
    unreadable?: number;
    operators?: TraceOperator[];
  } | null;
}
