// @ts-check
/** Builds the lines of a chart of several series. Pure. */
import { lineStyle } from './picture.js';

/**
 * Name the lines of each series after it, and give each series a color of its own; several runs keep their colors, and
 * the series differ in their dashes.
 * @param {readonly Line[][]} groups the lines of each series
 * @param {readonly string[]} names of the series
 * @param {Colors} colors
 * @param {boolean} byRun whether the color of a line tells its run
 * @returns {Line[]} those with superseded points first
 */
export function combineLines(groups, names, colors, byRun) {
  const lines = groups.flatMap((group, number) => {
    const style = lineStyle(colors, number);
    const kept = group.filter((line) => !line.remark);
    const isAlone = !byRun && kept.filter((line) => !line.superseded).length < 2;
    return kept.map((line) => ({
      ...line,
      ...(byRun ? {} : { color: style.color, tint: style.tint }),
      dash: line.superseded ? line.dash : lineStyle(colors, byRun ? number * colors.series.length : number).dash,
      label: isAlone ? names[number] : `${names[number]}, ${line.label}`,
    }));
  });
  return lines.sort((a, b) => Number(b.superseded) - Number(a.superseded));
}
