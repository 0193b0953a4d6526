import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configFacts, devicesText, processFacts, searchFacts, valueText } from '../../../web/js/data/process-info.js';

test('settings of nested mappings have names joined by dots', () => {
  const config = { lr: 0.1, optimizer: { betas: [0.9, 0.99], name: 'adam', empty: {} }, seed: null };
  assert.deepEqual(configFacts(config), [
    ['lr', '0.1'],
    ['optimizer.betas', '[0.9,0.99]'],
    ['optimizer.name', 'adam'],
    ['optimizer.empty', '{}'],
    ['seed', 'none'],
  ]);
  assert.equal(valueText(undefined), 'none');
});

test('a search finds facts with all of its words', () => {
  const facts = [
    ['torch', '2.13.0'],
    ['torchrec', '1.0'],
  ];
  assert.deepEqual(searchFacts(facts, ' TORCH 2.13'), [facts[0]]);
  assert.deepEqual(searchFacts(facts, ''), facts);
});

test('equal devices are counted', () => {
  const device = { name: 'H200', memory_bytes: 150e9 };
  assert.equal(devicesText([device, device, { name: 'CPU' }]), '2 × H200 (150 GB), CPU');
  assert.equal(devicesText(), '');
});

test('a process says what it knows, and nothing has no line', () => {
  const process = { rank: 0, host: 'trainer-7', pid: 0, client: 'recis/0.2.0', started_at: '', info: {} };
  assert.deepEqual(processFacts(process), [
    { title: 'Program', facts: [['Client', 'recis/0.2.0']] },
    { title: 'Machine', facts: [['Host', 'trainer-7']] },
  ]);
  const git = { commit: '0123456789abcdef', branch: 'trunk', dirty: true, root: '/src' };
  const cpu = { count: 64, usable: 8, model: 'EPYC' };
  const info = { git, cpu, python: '3.12', versions: { torch: '2.13' }, memory_bytes: 64e9 };
  const [program, machine, versions] = processFacts({ ...process, pid: 7, info });
  assert.deepEqual(program.facts.slice(0, 3), [
    ['Git commit', '0123456789ab on trunk, with uncommitted changes'],
    ['Repository', '/src'],
    ['Process', '7'],
  ]);
  assert.deepEqual(machine.facts.slice(1), [
    ['Processor', 'EPYC, 64 cores, 8 usable'],
    ['Memory', '64.0 GB'],
  ]);
  assert.deepEqual(versions.facts, [
    ['Python', '3.12'],
    ['torch', '2.13'],
  ]);
});
