import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  groupBySection,
  orderKeys,
  partName,
  partsOf,
  searchKeys,
  tableNames,
  titleOf,
} from '../../../web/js/data/series-names.js';
import { pass } from '../objects.js';

test('loss and qps come first, names without a section next, those of the monitor last', () => {
  const keys = ['monitor/queue', 'system/host/cpu', 'train/lr10', 'train/lr9', 'auc', 'qps', 'loss'];
  const order = ['loss', 'qps', 'auc', 'train/lr9', 'train/lr10', 'system/host/cpu', 'monitor/queue'];
  assert.deepEqual(orderKeys(keys), order);
});

test('names are grouped by everything before their last slash', () => {
  const groups = groupBySection(['loss', 'a/b/c', 'a/b/d', '/x']);
  assert.deepEqual(groups, [
    ['', ['loss', '/x']],
    ['a/b', ['a/b/c', 'a/b/d']],
  ]);
  assert.deepEqual(['a/b/c', 'loss', '/x'].map(titleOf), ['c', 'loss', '/x']);
});

test('a search text is a regular expression, or plain text when it is not a valid one', () => {
  const keys = ['loss', 'QPS', 'train/lr', 'odd*(name'];
  assert.deepEqual(searchKeys(keys, ''), keys);
  assert.deepEqual(searchKeys(keys, '^q|/lr$'), ['QPS', 'train/lr']);
  assert.deepEqual(searchKeys(keys, '*('), ['odd*(name']);
});

test('tables are named by passes and by series', () => {
  const names = tableNames([pass({ table: 'user' })], ['table/item/rows', 'table/user/rows', 'table/item/bytes']);
  assert.deepEqual(names, ['item', 'user']);
});

test('the parts of a step follow each other as in a step, others come before the rest', () => {
  const keys = ['time/other_ms', 'loss', 'time/zeta_ms', 'time/filter_pass_ms', 'time/step_ms', 'time/data_wait_ms'];
  const parts = partsOf(keys);
  assert.deepEqual(parts.map(partName), ['data wait', 'filter pass', 'zeta', 'other']);
});
