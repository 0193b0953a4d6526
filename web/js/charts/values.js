// @ts-check
/** The values of a chart as rows: for a table on the page, and as CSV. Pure. */
import { formatCell } from '../format/csv.js';

/** @typedef {[step: number, time: number, ...values: (number | null)[]]} ValueRow */
/** @typedef {{columns: string[], rows: ValueRow[]}} ValueTable */
/** @typedef {{name: string, of: (series: Series, i: number) => number}} ValueColumn */

/**
 * Return the columns of a line: its value, and where buckets have several values also their extremes and number.
 * @param {Line} line
 * @returns {ValueColumn[]}
 */
function lineColumns({ label, series: { n, count, nan } }) {
  const value = {
    name: label,
    of: (/** @type {Series} */ series, /** @type {number} */ i) =>
      series.count[i] === 1 ? series.last[i] : series.mean[i],
  };
  const some = (/** @type {Float64Array} */ column, /** @type {number} */ above) =>
    column.subarray(0, n).some((one) => one > above);
  const spread = /** @type {const} */ (['min', 'max', 'count']).map((column) => ({
    name: `${label} ${column}`,
    of: (/** @type {Series} */ series, /** @type {number} */ i) => series[column][i],
  }));
  const invalid = {
    name: `${label} non-finite`,
    of: (/** @type {Series} */ series, /** @type {number} */ i) => series.nan[i],
  };
  return [value, ...(some(count, 1) ? spread : []), ...(some(nan, 0) ? [invalid] : [])];
}

/**
 * Return the buckets of all current lines by their first step; a line without a bucket there has null.
 * @param {Picture} picture
 * @returns {ValueTable}
 */
export function valueTable({ lines }) {
  /** @type {Map<number, ValueRow>} */
  const rows = new Map();
  const shown = lines.filter((line) => !line.superseded && line.series.n > 0);
  const columns = shown.map(lineColumns);
  const width = columns.flat().length;
  let start = 2;
  shown.forEach(({ series }, number) => {
    for (let i = 0; i < series.n; i++) {
      /** @type {ValueRow} */
      const row = rows.get(series.x[i]) ?? [series.x[i], series.time[i], ...new Array(width).fill(null)];
      columns[number].forEach(({ of }, at) => {
        row[start + at] = of(series, i);
      });
      rows.set(series.x[i], row);
    }
    start += columns[number].length;
  });
  const sorted = [...rows].sort(([a], [b]) => a - b).map(([, row]) => row);
  return { columns: ['step', 'time', ...columns.flat().map(({ name }) => name)], rows: sorted };
}

/**
 * Return a table as CSV, with times in UTC.
 * @param {ValueTable} table
 */
export function csvText({ columns, rows }) {
  const lines = rows.map(([step, time, ...values]) => {
    return [
      String(step),
      new Date(time * 1000).toISOString(),
      ...values.map((value) => (value === null ? '' : String(value))),
    ].join(',');
  });
  return `${[columns.map(formatCell).join(','), ...lines].join('\r\n')}\r\n`;
}
