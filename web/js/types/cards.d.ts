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
