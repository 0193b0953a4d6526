import assert from 'node:assert/strict';
import { test } from 'node:test';
import { headlineMetrics, metricLabel, metricOf } from '../../../web/js/data/headline.js';

test('loss and speed are found under the names that frameworks give them', () => {
  const names = [
    ['loss', 'train/loss'],
    ['eval/loss', 'train/loss'],
    ['val_loss'],
    ['monitor/loss', 'auc'],
    ['training.loss'],
  ].map((keys) => metricOf(keys, 'loss'));
  assert.deepEqual(names, ['loss', 'train/loss', 'val_loss', undefined, 'training.loss']);
  const rates = [['samples_per_second', 'qps'], ['perf/steps_per_sec'], ['throughput'], ['lr']];
  assert.deepEqual(
    rates.map((keys) => metricOf(keys, 'rate')),
    ['qps', 'perf/steps_per_sec', 'throughput', undefined],
  );
});

test('chosen metrics come first, and a run without a known name shows what it has', () => {
  assert.deepEqual(headlineMetrics(['auc', 'loss', 'qps'], []), ['qps', 'loss']);
  assert.deepEqual(headlineMetrics(['auc', 'loss'], ['auc', 'gone']), ['auc']);
  assert.deepEqual(headlineMetrics(['monitor/queue', 'a', 'b', 'c'], []), ['a', 'b']);
  assert.deepEqual(headlineMetrics([], []), []);
});

test('usual names have labels', () => {
  assert.deepEqual(['qps', 'loss', 'train/loss'].map(metricLabel), ['QPS', 'Loss', 'train/loss']);
});
