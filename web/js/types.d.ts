/**
 * Shapes that more than one module speaks of, for the type check only: the browser never loads this file.
 * Those of the server are as in `docs/http.md` and `docs/protocol.md`.
 */

type Signal<T> = import('../vendor/ui.js').Signal<T>;

// --- from the server ------------------------------------------------------------------------------------------------

interface Run {
  id: string;
  project: string;
  name: string;
  /** running, stalled, disconnected, finished, failed. */
  state: string;
  /** What a failed run said last. */
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

interface Pass {
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
  value: any;
  desired: any;
  minimum: number | null;
  maximum: number | null;
  nullable: boolean;
  unit: string;
  description?: string;
  ranks: Record<string, { value: any; step: number | null }>;
}

interface Command {
  id: string;
  control: string;
  value: any;
  /** pending, delivered, applied, rejected, expired. */
  state: string;
  requested_by: string;
  requested_at: string;
  reason: string;
  apply_at_step: number | null;
  ranks: Record<string, { state?: string; old?: any; new?: any; step?: number | null; message?: string }>;
}

interface RunEvent {
  kind: string;
  level: string;
  /** Seconds since the epoch. */
  time: number;
  step: number | null;
  rank?: number | null;
  text: string;
  data?: any;
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
  summary: any;
}

// --- the page's own -------------------------------------------------------------------------------------------------

type Axis = 'step' | 'time';
type Tab = 'charts' | 'tables' | 'traces';
type Route =
  | { page: 'runs' }
  | { page: 'run'; run: string; tab: Tab }
  | { page: 'compare'; runs: string[] }
  | { page: 'unknown'; path: string };

/** What the address holds: zoom in steps, smoothing from 0 to below 1, search text, filter of states. */
interface View {
  from: number | null;
  to: number | null;
  smooth: number;
  log: boolean;
  x: Axis;
  rank: number | 'all';
  q: string;
  state: string;
}

/** A value that somebody asked for on this page. */
interface Attempt {
  id: string;
  value: any;
  reason: string;
  phase: 'sending' | 'sent' | 'unsent' | 'refused';
  message: string;
  /** Seconds since the epoch. */
  at: number;
}

type Typed = { ok: true; value: any } | { ok: false; message: string };
interface Outcome {
  tone: 'wait' | 'good' | 'bad';
  text: string;
  retry: boolean;
}

// --- charts ---------------------------------------------------------------------------------------------------------

type Column = 'x' | 'time' | 'min' | 'max' | 'mean' | 'last' | 'count' | 'nan';

/** Buckets of one series on one rank; the first `n` entries of every column are in use. With `superseded`: what a newer attempt has gone back behind. */
type Series = { key: string; rank: number; attempt: number; superseded: boolean; n: number; width: number } & Record<Column, Float64Array>;
type SeriesList = readonly Series[];

interface Frame {
  type: 'snapshot' | 'delta';
  id: number;
  run: string;
  width: number;
  start: number | null;
  stop: number | null;
  series: Series[];
}

/** What all watches of the page have in common. */
interface Scope {
  rank: number | 'all';
  start: number | null;
  stop: number | null;
  points: number;
  superseded: boolean;
}

interface Colors {
  grid: string;
  text: string;
  bad: string;
  warn: string;
  mark: string;
  pass: string;
  series: string[];
  wash: string[];
}

interface Line {
  series: Series;
  label: string;
  color: string;
  wash: string;
  dash: number[];
  /** What a newer attempt has gone back behind, drawn faintly. */
  ghost: boolean;
}

interface Mark {
  x: number;
  label: string;
  color: string;
  dash: boolean;
}

/** All that a chart needs to be drawn. */
interface Picture {
  kind: 'line' | 'bars';
  lines: Line[];
  x: [number, number] | null;
  log: boolean;
  smooth: number;
  axis: Axis;
  marks: Mark[];
  passes: number[];
}

/** A place to paint: a box in canvas pixels and the way from values to it. */
interface Plot {
  g: CanvasRenderingContext2D;
  box: { left: number; top: number; width: number; height: number };
  px: (x: number) => number;
  py: (y: number) => number;
  ratio: number;
}

interface Gestures {
  hover: (x: number | null) => void;
  zoom: (from: number, to: number) => void;
  reset: () => void;
}

/** One line's bucket under the crosshair. */
interface Reading {
  label: string;
  color: string;
  x: number;
  value: number;
  min: number;
  max: number;
  count: number;
}

interface Source {
  run: string;
  key: string;
}

/** A chart as the wall sees it; `draw` gets the range of the x axis. */
interface WallItem {
  host: HTMLElement;
  sources: Source[];
  draw: (range: [number, number] | null) => void;
  point: (x: number | null, own: boolean) => void;
  resize: (width: number) => void;
}

/** The box beside the crosshair. */
interface Chip {
  left: number;
  flip: boolean;
  at: string;
  rows: Reading[];
}

type Page = import('./main.js').Page;
