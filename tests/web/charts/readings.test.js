import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EMPTY_PICTURE } from '../../../web/js/charts/picture.js';
import {
  eventsNear,
  markNear,
  namedRanks,
  neighborX,
  readLines,
  subjectLine,
} from '../../../web/js/charts/readings.js';
import { bucket, series } from '../frames.js';

const line = (label, rows, members = {}) => ({
  label,
  color: label,
  superseded: false,
  series: series(rows),
  ...members,
});
const picture = (lines, axis = 'step') => ({ ...EMPTY_PICTURE, axis, lines });

test('the crosshair reads current lines in their order', () => {
  const lines = [
    line('old', [bucket(1, 90)], { superseded: true }),
    line('low', [bucket(0, 1), bucket(10, 2)]),
    line('high', [bucket(10, 5, { min: 4, max: 6, count: 2 })]),
    line('empty', []),
  ];
  const readings = readLines(picture(lines), 9).map(({ label, x, value, max }) => `${label} ${x} ${value} ${max}`);
  assert.deepEqual(readings, ['low 10 2 2', 'high 10 5 6']);
});

test('a line has no reading within its gap', () => {
  const lines = [line('a', [bucket(0, 1), bucket(10, 1), bucket(900, 2)], { gaps: [2] })];
  assert.deepEqual(readLines(picture(lines, 'time'), 50), []);
  assert.equal(readLines(picture(lines, 'time'), 90)[0].value, 2);
});

test('the figure of a chart is that of its first current line with data', () => {
  const lines = [line('old', [bucket(0, 1)], { superseded: true }), line('empty', []), line('shown', [bucket(0, 1)])];
  assert.equal(subjectLine(lines).label, 'shown');
  assert.equal(subjectLine([]), undefined);
});

test('named ranks are the same array until they change', () => {
  const named = { ...line('rank 37', [bucket(0, 1)]), remark: 'odd' };
  named.series.rank = 37;
  const first = namedRanks([], [line('median', [bucket(0, 1)]), named]);
  assert.deepEqual(first, [{ rank: 37, remark: 'odd', color: 'rank 37' }]);
  assert.equal(namedRanks(first, [named]), first);
});

test('events close to the crosshair are found with their whole text', () => {
  const events = [5, 9, 30].map((x) => ({ x, text: `at ${x}`, color: 'red' }));
  const notes = eventsNear({ ...EMPTY_PICTURE, events }, 7, 3);
  assert.deepEqual(notes, [
    { text: 'at 5', color: 'red' },
    { text: 'at 9', color: 'red' },
  ]);
});

test('the nearest mark is found, if it is near enough: commands first, checkpoints not', () => {
  const events = [{ x: 5, command: 'a' }, { x: 8, command: 'b' }, { x: 9 }, { x: 20, minor: true }, { x: 30 }];
  const found = [9, 6, 5, 20, 31].map((x) => markNear({ ...EMPTY_PICTURE, events }, x, 3));
  assert.deepEqual(found, [events[1], events[0], events[0], undefined, events[4]]);
});

test('the crosshair moves by buckets and stays within the data', () => {
  const shown = picture([line('a', [bucket(0, 1), bucket(10, 2), bucket(20, 3)])]);
  assert.deepEqual([neighborX(shown, null, -1), neighborX(shown, 20, -1), neighborX(shown, 0, -1)], [20, 10, 0]);
  assert.equal(neighborX(shown, 20, 10), 20);
  assert.equal(neighborX(picture([]), null, 1), null);
});
