/**
 * What the server tells of applied commands, and of filter intervals that may be, for the type check only: the browser
 * never loads this file. `docs/http.md` describes every field.
 */

/** What a command has changed. */
interface Effect {
  command: string;
  control: string | null;
  state: 'measured' | 'waiting' | 'open' | 'none';
  message: string;
  /** The step after which each rank has applied it. */
  steps: Record<string, number>;
  windows: { steps: number; cut: 'start' | 'end' | 'earlier' | 'superseded' | null; by: string | null } | null;
  missing_steps: number;
  metrics: EffectMetric[];
  also: { command: string; controls: string[]; step: number }[];
  without: Record<string, string>;
  ranks_left_out: number;
  tables_left_out: number;
}

/** A number, or the name of one that is not finite. */
type Figure = number | string | null;

interface EffectSide {
  mean: Figure;
  error: Figure;
  count: number;
  nan: number;
}

interface EffectMetric {
  key: string;
  role: 'loss' | 'rate' | 'rows' | 'pass_ms';
  table: string | null;
  before: EffectSide;
  after: EffectSide;
  difference: Figure;
  noise: Figure;
  /** The difference that the trend before would have made. */
  trend: Figure;
  verdict: 'higher' | 'lower' | 'trend' | 'noise' | 'unknown';
  repeated: number;
}

interface Estimate {
  value: number;
  error: number | null;
}

interface Prediction {
  next_step: number;
  rows: number;
  rows_before: Estimate;
  evicted: Estimate;
  rows_after: Estimate;
  at_most: Estimate;
  pass_ms: Estimate;
  ms_per_step: Estimate;
}

/** What a filter interval would mean. */
interface Forecast {
  filter_interval: number;
  message: string;
  total: Prediction | null;
  tables: { table: string; passes: number; message: string; prediction: Prediction | null }[];
}
