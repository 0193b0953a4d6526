/** The page's own state, for the type check only: the browser never loads this file. */

type Signal<T> = import('../../vendor/ui.js').Signal<T>;
type App = import('../app.js').App;

/** Steps, seconds since the epoch, or seconds since the start of the run. */
type Axis = 'step' | 'time' | 'relative';
type Tab = 'charts' | 'tables' | 'events' | 'traces' | 'logs' | 'info';
type Route =
  | { page: 'runs' }
  | { page: 'run'; run: string; tab: Tab }
  | { page: 'compare'; runs: string[] }
  | { page: 'unknown'; path: string };

/** The view state that the address holds. */
/** What was just done, and how to undo it; `failures` has what could not be done. */
interface Done {
  text: string;
  failures: string[];
  undo: (() => Promise<void>) | null;
}

/** Members of a run to change. */
type RunChange = Partial<Pick<Run, 'name' | 'tags' | 'notes' | 'archived'>>;

interface View {
  /** First and last step of the zoom, both null without one. */
  from: number | null;
  to: number | null;
  /** First and last second of a zoom on the time axis, which several runs reach at different steps. */
  times: [number, number] | null;
  /** Zooms of vertical axes, each with the name of its chart. */
  scales: [chart: string, low: number, high: number][];
  /** Weight of the moving average, from 0 (off) to below 1. */
  smooth: number;
  log: boolean;
  /** Whether the vertical axis leaves out outliers. */
  robust: boolean;
  /** Whether compared runs are divided by the reference. */
  ratio: boolean;
  x: Axis;
  paused: boolean;
  /** A rank, each rank, all in a band; null for a choice by their number. */
  rank: number | 'all' | 'band' | null;
  /** Search text. */
  q: string;
  /** Stream whose lines are shown, empty for all. */
  stream: string;
  /** Run state to show, `archived` for archived runs, empty for all others. */
  state: string;
  /** Project whose runs are shown, empty for all. */
  project: string;
  /** Tags that the runs shown have. */
  tags: string[];
  /** Column by which runs are ordered, after a minus for descending order; empty for running and newer ones first. */
  sort: string;
  /** Sections that are folded although they start open, or the reverse. */
  folded: string[];
  /** Runs selected for comparison and for changes. */
  picked: string[];
  /** Runs that a comparison does not draw. */
  hidden: string[];
  /** Pinned charts, each by the names of its series. */
  pins: string[][];
  /** The command whose effect is shown, empty for none. */
  effect: string;
  /** Metrics shown as columns or figures, empty for a choice by name. */
  metrics: string[];
}

/** Progress of loading the current page. */
type LoadState = 'loading' | 'ready' | { status: number; message: string };

interface ConnectionState {
  up: boolean;
  /** When it went up or down, in seconds since the epoch. */
  since: number;
  /** Whether it has ever been up. */
  ever: boolean;
}

/** A control value requested on this page. */
interface ControlRequest {
  id: string;
  value: unknown;
  reason: string;
  /** The command whose old values this asks for. */
  reverts?: Command;
  phase: 'sending' | 'sent' | 'unreachable' | 'rejected';
  message: string;
  /** Seconds since the epoch. */
  at: number;
}

type ParsedValue = { ok: true; value: unknown } | { ok: false; message: string };

/** The status line of a control. */
interface Outcome {
  tone: 'pending' | 'good' | 'bad' | 'muted';
  text: string;
  retry: boolean;
}
