/** Cards of charts, for the type check only: the browser never loads this file. */

/** A chart of a page: which series it shows, and how. */
interface ChartSpec {
  /** What a pin names: a series, several, or the prefix of a group of series with a slash at its end. */
  id: string[];
  kind: 'lines' | 'stack' | 'table';
  title: string;
  label: string;
  keys: string[];
}

/** A sample of a line and what it shows. */
interface LegendEntry {
  name: string;
  style: LineStyle;
}

/** The bucket of one line under the crosshair. */
interface Reading {
  /** Name of the series. */
  key: string;
  label: string;
  color: string;
  x: number;
  value: number;
  min: number;
  max: number;
  count: number;
}

/** A remark under the crosshair: an event, or why there is no data. */
interface Note {
  text: string;
  color: string;
}

interface Tooltip {
  /** Where the crosshair is, in pixels from the left edge of the plot. */
  left: number;
  title: string;
  readings: Reading[];
  notes: Note[];
}
