// Addresses and view state.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_VIEW, parseRoute, parseView, routePath, sectionOf, viewSearch } from '../../web/js/router.js';

test('every screen has its address, and the address its screen', () => {
  const routes = [
    { page: 'runs' },
    { page: 'run', run: 'a.b-c_1', tab: 'charts' },
    { page: 'run', run: 'a', tab: 'tables' },
    { page: 'run', run: 'a', tab: 'traces' },
  ];
  for (const route of routes) assert.deepEqual(parseRoute(routePath(route)), route);
  assert.deepEqual(parseRoute('compare', '?runs=a,b,,a'), { page: 'compare', runs: ['a', 'b'] });
  assert.equal(routePath({ page: 'compare', runs: ['a', 'b'] }), 'compare?runs=a,b');
});

test('strange addresses are unknown, never an error', () => {
  for (const path of ['run', 'run/a/b', 'run/a/tables/x', 'nowhere', 'compare/x']) assert.equal(parseRoute(path).page, 'unknown', path);
  assert.deepEqual(parseRoute('run/%E0%A4%A'), { page: 'run', run: '%E0%A4%A', tab: 'charts' });
  assert.deepEqual(parseRoute('run/..%2Fetc/'), { page: 'run', run: '../etc', tab: 'charts' });
});

test('view state goes into the address and comes back the same', () => {
  const view = { ...DEFAULT_VIEW, from: 100, to: 900, smooth: 0.6, log: true, x: 'time', rank: 'all', q: 'loss|qps & more', state: 'running' };
  assert.deepEqual(parseView(viewSearch(view)), view);
  assert.equal(viewSearch(DEFAULT_VIEW), '');
  assert.equal(viewSearch({ ...DEFAULT_VIEW, log: true }, 'runs=a,b'), '?runs=a,b&log=1');
});

test('parameters that make no sense are left at their defaults', () => {
  assert.deepEqual(parseView('?from=9&to=3&smooth=7&rank=-1&log=yes&x=mood'), DEFAULT_VIEW);
  assert.deepEqual(parseView('?from=1e99&to=abc&smooth=NaN&rank=%00'), DEFAULT_VIEW);
  assert.equal(parseView('?from=5').from, null);
});

test('the section of a series is all before its last slash', () => {
  assert.deepEqual(['loss', 'a/b', 'table/user/rows', '/x', 'a/'].map(sectionOf), ['', 'a', 'table/user', '', 'a']);
});
