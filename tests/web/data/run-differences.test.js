import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changeOf, compareRuns, deltaOf, describeRun, onlyDifferences } from '../../../web/js/data/run-differences.js';

const answer = (config, said, pid = 1) => ({
  attempt: 1,
  attempts: [],
  config,
  ranks: [{ rank: 0, host: 'trainer', pid, client: 'recis/1.0', started_at: '', info: said }],
});
const info = { command: 'train.py', git: { commit: 'aaaa', dirty: false }, python: '3.12', packages: { torch: '2.1' } };

test('runs are compared entry by entry, and only what differs is kept', () => {
  const other = { ...info, git: { commit: 'aaaa', dirty: true }, packages: { torch: '2.2', numpy: '2' } };
  const groups = compareRuns([
    describeRun(answer({ lr: 0.1, optimizer: { name: 'adam' } }, info)),
    describeRun(answer({ lr: 0.2, optimizer: { name: 'adam' } }, other, 2)),
  ]);
  const settings = groups.find(({ title }) => title === 'Configuration');
  assert.deepEqual(settings?.rows, [
    { label: 'lr', texts: ['0.1', '0.2'], differs: true },
    { label: 'optimizer.name', texts: ['adam', 'adam'], differs: false },
  ]);
  assert.deepEqual(onlyDifferences(groups), [
    { title: 'Configuration', rows: [{ label: 'lr', texts: ['0.1', '0.2'], differs: true }] },
    {
      title: 'Program',
      rows: [{ label: 'Git commit', texts: ['aaaa, clean', 'aaaa, with uncommitted changes'], differs: true }],
    },
    {
      title: 'Packages',
      rows: [
        { label: 'torch', texts: ['2.1', '2.2'], differs: true },
        { label: 'numpy', texts: [null, '2'], differs: true },
      ],
    },
  ]);
});

test('a run that says nothing in a group makes no difference there; the rank with a command line speaks', () => {
  const silent = describeRun(answer({}, {}));
  const whole = answer({ lr: 0.1 }, info);
  whole.ranks.unshift({ ...whole.ranks[0], rank: 1, info: {} });
  const groups = compareRuns([describeRun(whole), silent]);
  assert.deepEqual(onlyDifferences(groups), []);
  assert.deepEqual(groups.find(({ title }) => title === 'Packages')?.rows, [
    { label: 'torch', texts: ['2.1', null], differs: false },
  ]);
});

test('a run without processes still has its configuration', () => {
  const found = describeRun({ attempt: 1, attempts: [], config: { lr: 0.1 }, ranks: [] });
  assert.deepEqual([...(found.get('Configuration') ?? [])], [['lr', '0.1']]);
});

test('a delta needs two finite numbers', () => {
  assert.equal(deltaOf(0.5, 0.25), 0.25);
  for (const [value, reference] of [
    ['NaN', 1],
    [1, undefined],
    [null, 1],
    [1.7e308, -1.7e308],
  ]) {
    assert.equal(deltaOf(value, reference), null);
  }
});

test('a change is a share of the reference, which is not 0', () => {
  assert.deepEqual([changeOf(-1, -2), changeOf(3, 2), changeOf(2, 2)], [0.5, 0.5, 0]);
  assert.deepEqual([changeOf(1, 0), changeOf('NaN', 1)], [null, null]);
});
