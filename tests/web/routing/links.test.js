import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  auditHref,
  downloadHref,
  root,
  routeHref,
  routeOf,
  runHref,
  staticHref,
} from '../../../web/js/routing/links.js';

// Here the module is a file below web/; on a server it is a file below {root}static/.
const relative = (href) => href.slice(root.href.length);

test('links lie below the root', () => {
  assert.equal(relative(routeHref({ page: 'runs' })), '');
  assert.equal(relative(runHref('a/b', 'tables')), 'run/a%2Fb/tables');
  assert.equal(relative(runHref('a')), 'run/a');
  assert.equal(relative(downloadHref('t?1')), 'api/v1/traces/t%3F1/download');
  assert.equal(relative(auditHref('a/b')), 'api/v1/runs/a%2Fb/audit?format=csv');
  assert.equal(relative(staticHref('icon.svg')), 'static/icon.svg');
});

test('a link leads back to its route, a URL elsewhere to none', () => {
  const route = { page: 'run', run: 'a/b', tab: 'traces' };
  assert.deepEqual(routeOf(new URL(routeHref(route))), route);
  assert.deepEqual(routeOf(new URL('compare?runs=a', root)), { page: 'compare', runs: ['a'] });
  assert.equal(routeOf(new URL('https://example.org/run/a')), null);
  assert.equal(routeOf(new URL('../other', root)), null);
});
