import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRoute, routePath } from '../../../web/js/routing/routes.js';

test('every route has a path, and the path leads to the route', () => {
  const routes = [
    { page: 'runs' },
    { page: 'run', run: 'a.b-c_1', tab: 'charts' },
    { page: 'run', run: 'a/b?', tab: 'tables' },
    { page: 'run', run: 'a', tab: 'traces' },
    { page: 'run', run: 'a', tab: 'info' },
    { page: 'run', run: 'a', tab: 'logs' },
  ];
  for (const route of routes) assert.deepEqual(parseRoute(routePath(route)), route);
  assert.equal(routePath({ page: 'compare', runs: ['a', 'b'] }), 'compare?runs=a,b');
});

test('a comparison has each run once', () => {
  assert.deepEqual(parseRoute('compare', '?runs=a,b,,a'), { page: 'compare', runs: ['a', 'b'] });
  assert.deepEqual(parseRoute('compare'), { page: 'compare', runs: [] });
});

test('other paths are unknown, never an error', () => {
  for (const path of ['run', 'run/a/b', 'run/a/tables/x', 'nowhere', 'compare/x', 'run/a/constructor']) {
    assert.equal(parseRoute(path).page, 'unknown', path);
  }
  assert.deepEqual(parseRoute('run/%E0%A4%A'), { page: 'run', run: '%E0%A4%A', tab: 'charts' });
  assert.deepEqual(parseRoute('run/..%2Fetc/'), { page: 'run', run: '../etc', tab: 'charts' });
});
