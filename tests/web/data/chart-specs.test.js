import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chartSections, PINNED, shortNames } from '../../../web/js/data/chart-specs.js';

const KEYS = [
  ...['loss', 'auc', 'time/step_ms', 'time/forward_ms', 'train/loss', 'eval/loss'],
  ...['table/a/b/bytes', 'table/a/b/rows', 'table/c/rows', 'table/c/evicted'],
];
const shape = (list) => list.map(([name, charts]) => [name, charts.map(({ keys }) => keys.join(' '))]);
const sections = (pins = [], found = KEYS, grouped = true) => chartSections(KEYS, found, pins, grouped);

test('a hash table has one chart and the parts of a step are one stack', () => {
  const found = sections();
  assert.deepEqual(shape(found), [
    ['', ['loss', 'auc']],
    ['time', ['time/forward_ms time/step_ms']],
    ['train', ['train/loss']],
    ['eval', ['eval/loss']],
    ['table', ['table/a/b/rows table/a/b/bytes', 'table/c/rows table/c/evicted']],
  ]);
  const [{ kind, title, label }] = found[4][1];
  assert.deepEqual([kind, title, label], ['table', 'a/b', 'table/a/b']);
});

test('a search shows every series that it finds by itself', () => {
  assert.deepEqual(shape(sections([], ['time/step_ms', 'table/c/rows', 'table/c/evicted'])), [
    ['time', ['time/step_ms']],
    ['table/c', ['table/c/rows', 'table/c/evicted']],
  ]);
});

test('pinned charts come first, in their order, and leave their section', () => {
  const pins = [['table/c/'], ['auc'], ['train/loss', 'eval/loss'], ['gone'], ['auc'], ['gone', 'eval/loss']];
  const found = sections(pins);
  assert.deepEqual(shape(found.slice(0, 2)), [
    [PINNED, ['table/c/rows table/c/evicted', 'auc', 'train/loss eval/loss', 'eval/loss']],
    ['', ['loss']],
  ]);
  assert.deepEqual(
    found[0][1].map(({ kind, title }) => [kind, title]),
    [
      ['table', 'c'],
      ['lines', 'auc'],
      ['lines', 'train/loss, eval/loss'],
      ['lines', 'loss'],
    ],
  );
  assert.equal(
    shape(found)
      .flatMap(([, charts]) => charts)
      .filter((keys) => keys === 'train/loss').length,
    1,
  );
});

test('of the pinned charts a search shows those with a series that it finds', () => {
  const found = sections([['auc'], ['train/loss', 'eval/loss']], ['train/loss']);
  assert.deepEqual(shape(found), [
    [PINNED, ['train/loss eval/loss']],
    ['train', ['train/loss']],
  ]);
});

test('names are short where the section is the same', () => {
  assert.deepEqual(shortNames(['a/x', 'a/y']), ['x', 'y']);
  assert.deepEqual(shortNames(['a/x', 'b/x']), ['a/x', 'b/x']);
});
