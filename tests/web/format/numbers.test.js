import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  formatCompact,
  formatExact,
  formatInteger,
  formatPercent,
  nonFiniteText,
  pluralize,
} from '../../../web/js/format/numbers.js';

const withSpaces = (text) => text.replaceAll('\u202f', ' ');

test('compact numbers have three to four digits and a suffix', () => {
  const shown = {
    0: '0',
    1: '1',
    0.431: '0.4310',
    0.43128: '0.4313',
    12.3: '12.30',
    999.96: '1.00 k',
    1234: '1.23 k',
    208049: '208 k',
    999999: '1.00 M',
    1.2e6: '1.20 M',
    '-5': '−5',
    1e-9: '1.00e-9',
    0.0003: '0.0003',
    1e20: '1.00e20',
  };
  for (const [number, text] of Object.entries(shown)) assert.equal(formatCompact(Number(number)), text, number);
});

test('values that are not finite have a text of their own', () => {
  const values = [Number.NaN, 'NaN', Number.POSITIVE_INFINITY, '-Infinity', null, undefined];
  const texts = ['NaN', 'NaN', '∞', '−∞', '–', '–'];
  assert.deepEqual(values.map(nonFiniteText), texts);
  for (const format of [formatCompact, formatInteger, formatExact, formatPercent]) {
    assert.deepEqual(values.map(format), texts, format.name);
  }
  assert.equal(nonFiniteText(0), null);
});

test('percentages have two significant digits', () => {
  const texts = [0, 0.0003, 0.00034567, 1e-7, 0.5, 1.5].map(formatPercent);
  assert.deepEqual(texts, ['0 %', '0.03 %', '0.035 %', '< 0.001 %', '50 %', '150 %']);
});

test('integers are grouped by thousands', () => {
  assert.deepEqual([1204331, -1000, 999, 1.6].map(formatInteger).map(withSpaces), ['1 204 331', '−1 000', '999', '2']);
});

test('exact numbers keep all digits', () => {
  assert.deepEqual([1204331, -0.1 - 0.2].map(formatExact).map(withSpaces), ['1 204 331', '−0.30000000000000004']);
});

test('a count of one has a singular noun', () => {
  assert.deepEqual(
    [0, 1, 2].map((count) => pluralize(count, 'run')),
    ['0 runs', '1 run', '2 runs'],
  );
  assert.equal(pluralize(3, 'series', 'series'), '3 series');
});
