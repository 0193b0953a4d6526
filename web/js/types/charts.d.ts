/** Chart data and drawing, for the type check only: the browser never loads this file. */

type Column = 'x' | 'time' | 'min' | 'max' | 'mean' | 'last' | 'count' | 'nan';

/** Buckets of one series on one rank; the first `n` entries of every column are in use. */
type Series = {
  key: string;
  rank: number;
  attempt: number;
  /** Whether these are the points that a later attempt has superseded. */
  superseded: boolean;
  n: number;
  /** Steps per bucket. */
  width: number;
  /** When its run was created, in seconds since the epoch; 0 where that is not known. */
  origin?: number;
} & Record<Column, Float64Array>;

/** The series of one key: all ranks, superseded points before current ones. */
type SeriesList = readonly Series[];

/** A decoded binary message of `/ws/live`. */
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
  rank: number | 'all' | 'band';
  start: number | null;
  stop: number | null;
  points: number;
  superseded: boolean;
}

interface SeriesSource {
  run: string;
  key: string;
}

/** Colors of the current theme that a canvas needs. */
interface Colors {
  grid: string;
  text: string;
  bad: string;
  warn: string;
  mark: string;
  pass: string;
  series: string[];
  /** Translucent fill for the band of the series with the same index. */
  tint: string[];
}

interface LineStyle {
  color: string;
  tint: string;
  dash: number[];
}

interface Line extends LineStyle {
  series: Series;
  label: string;
  superseded: boolean;
  /** Whether its minimum and maximum are drawn as a band; by default only those of a line that is alone. */
  band?: boolean;
  /** Why this rank is named: "slowest", "highest". */
  remark?: string;
  /** Indices of buckets before which nothing was reported for long. */
  gaps?: readonly number[];
}

/** A rank that lies apart from the others, and why it is named. */
interface NamedRank {
  rank: number;
  remark: string;
  color: string;
}

/** A stretch of time, in seconds since the epoch. */
type TimeSpan = [from: number, to: number];

interface LinePen {
  color: string;
  width: number;
  alpha?: number;
  dash?: number[];
  /** Offset added to every x value: half a bucket, to draw at its middle. */
  shift?: number;
  /** Indices at which the line is interrupted. */
  gaps?: readonly number[];
}

interface EventMark {
  x: number;
  /** What is written beside the mark. */
  label: string;
  /** The whole text. */
  text: string;
  color: string;
  dash: boolean;
  /** The command that it marks. */
  command?: string;
  /** Whether it is drawn without a line and a label, as there may be many. */
  minor?: boolean;
}

type ChartKind = 'line' | 'bars' | 'stack';

/** Everything a chart needs to draw itself. */
interface Picture {
  kind: ChartKind;
  lines: Line[];
  x: [number, number] | null;
  /** The zoom of the vertical axis. */
  y: [number, number] | null;
  log: boolean;
  smooth: number;
  axis: Axis;
  /** Whether the vertical axis leaves out outliers. */
  robust: boolean;
  unit: Unit;
  events: EventMark[];
  /** When no line has data. */
  pauses: TimeSpan[];
  /** Steps of filter passes. */
  passes: number[];
}

/** A canvas, a box on it in canvas pixels, and the mapping from values to pixels. */
interface PlotArea {
  context: CanvasRenderingContext2D;
  box: { left: number; top: number; width: number; height: number };
  px: (x: number) => number;
  py: (y: number) => number;
  ratio: number;
}

/** The unit of a metric: values times `scale` are in the unit of `symbol`. */
interface Unit {
  symbol: '' | 'B' | 'B/s' | 's' | '%' | 'W' | '°C';
  scale: number;
}

interface ChartGestures {
  hover: (x: number | null) => void;
  zoom: (from: number, to: number) => void;
  reset: () => void;
  /** Show another part of the horizontal axis; `settled` is false while the pointer is down. */
  pan: (from: number, to: number, settled: boolean) => void;
  /** Zoom the vertical axis of this chart. */
  rescale: (low: number, high: number) => void;
  /** Open what a mark stands for. */
  open: (mark: EventMark) => void;
}

/** A chart as the chart group sees it. */
interface GroupMember {
  host: HTMLElement;
  sources: readonly SeriesSource[];
  /** Draw with this range of the x axis, or the extent of the data when null. */
  draw: (range: [number, number] | null) => void;
  /** Move the crosshair; `own` says that the pointer is over this chart. */
  point: (x: number | null, own: boolean) => void;
  resize: (width: number, height: number) => void;
  /** Free what drawing needs: the chart is far from the window. */
  release: () => void;
}

/** Build the lines of a chart from the series of each of its sources. */
type LineBuilder = (lists: readonly SeriesList[]) => Line[];
