// Rebuilds the third-party files beside it, and /THIRD-PARTY-NOTICES, from the exact versions in
// tests/web/package-lock.json. Run by hand when a version is raised:
// `npm ci --prefix tests/web && node web/vendor/vendor.mjs`. The output is committed; users and the server never run
// this. Must not be imported by the page. With an argument, everything is written to that folder instead.
import { createHash } from 'node:crypto';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? here;
const notices = process.argv[2] ?? join(here, '../..');
const modules = join(here, '../../tests/web/node_modules');
const { build } = createRequire(join(modules, 'x.js'))('esbuild');

const bundles = {
  // One file for all of it: two copies of preact on one page would not share hooks and signals.
  'ui.js': `export { render, Fragment, h } from 'preact';
    export { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
    export { batch, computed, effect, signal, untracked, useSignal } from '@preact/signals';
    export { html } from 'htm/preact';`,
  'uplot.js': "export { default } from 'uplot';",
};

// package name -> the files here that have code of it, as the bundler tells: what a package brings along counts too.
const vendored = new Map([['uplot', new Set(['uplot.css', 'uplot.d.ts'])]]);

for (const [file, contents] of Object.entries(bundles)) {
  const { metafile } = await build({
    stdin: { contents, resolveDir: modules },
    nodePaths: [modules],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    legalComments: 'eof',
    outfile: join(out, file),
    metafile: true,
  });
  for (const input of Object.keys(metafile.inputs)) {
    const parts = relative(modules, input).split(sep);
    if (parts[0] === '..') continue; // the lines above
    const name = parts.slice(0, parts[0].startsWith('@') ? 2 : 1).join('/');
    vendored.set(name, (vendored.get(name) ?? new Set()).add(file));
  }
}
copyFileSync(join(modules, 'uplot/dist/uPlot.min.css'), join(out, 'uplot.css'));
copyFileSync(join(modules, 'uplot/dist/uPlot.d.ts'), join(out, 'uplot.d.ts'));

const sums = ['ui.js', 'uplot.css', 'uplot.d.ts', 'uplot.js'].map((file) => {
  const digest = createHash('sha256')
    .update(readFileSync(join(out, file)))
    .digest('hex');
  return `${digest}  ${file}\n`;
});
writeFileSync(join(out, 'SHA256SUMS'), sums.join(''));

const rule = '-'.repeat(100);
const sections = [...vendored.keys()].sort().map((name) => {
  const { version, license, homepage, repository } = JSON.parse(
    readFileSync(join(modules, name, 'package.json'), 'utf8'),
  );
  const files = [...vendored.get(name)].sort().map((file) => `web/vendor/${file}`);
  const text = readFileSync(join(modules, name, 'LICENSE'), 'utf8').trimEnd();
  const heading = [`${name} ${version} (${license})`, homepage ?? repository.url, `In ${files.join(', ')}`];
  return [rule, ...heading, rule, '', text, ''].join('\n');
});
writeFileSync(
  join(notices, 'THIRD-PARTY-NOTICES'),
  `recis-monitor contains the third-party software listed below, as files of its web page (installed as
recis_server/web/vendor). Written by web/vendor/vendor.mjs from the packages' own licence files.

${sections.join('\n')}`,
);
