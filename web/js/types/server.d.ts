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
  notes: string;
  archived: boolean;
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
  /** int, float, bool, str, enum, action, profile. */
  type: string;
  value: unknown;
  desired: unknown;
  minimum: number | null;
  maximum: number | null;
  /** The values of an enum: texts, numbers or booleans. */
  choices: unknown[] | null;
  nullable: boolean;
  unit: string;
  description?: string;
  /** Whether all ranks change at one step, or each at its next one. */
  apply: 'together' | 'each';
  /** What to ask users before a command is sent; empty for nothing. */
  confirm: string;
  /** Ranks that do not have what they are to have, or another value than the lowest rank. */
  differs: number[];
  ranks: Record<string, { value: unknown; step: number | null }>;
}

interface RankOutcome {
  /** As that of a command. */
  state: string;
  old: unknown;
  new: unknown;
  step: number | null;
  late: boolean;
  message: string;
}

interface Command {
  id: string;
  /** Null for several controls; then `values` names them. */
  control: string | null;
  value: unknown;
  values: Record<string, unknown>;
  /** pending, delivered, applied, rejected, expired, superseded. */
  state: string;
  requested_by: string;
  requested_at: string;
  reason: string;
  apply_at_step: number | null;
  superseded_by: string | null;
  /** The command whose old values it asks for. */
  reverts: string | null;
  waiting_for: number[];
  away: number[];
  ranks: Record<string, RankOutcome>;
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
  data?: { command?: string };
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
