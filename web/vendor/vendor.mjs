// Rebuilds the third-party files beside it from the exact versions in tests/web/package-lock.json.
// Run by hand when a version is raised: `npm ci --prefix tests/web && node web/vendor/vendor.mjs`. The output is
// committed; users and the server never run this. Must not be imported by the page.
import { createHash } from 'node:crypto';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? here;
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

for (const [file, contents] of Object.entries(bundles)) {
  await build({
    stdin: { contents, resolveDir: modules },
    nodePaths: [modules],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    legalComments: 'eof',
    outfile: join(out, file),
  });
}
copyFileSync(join(modules, 'uplot/dist/uPlot.min.css'), join(out, 'uplot.css'));
copyFileSync(join(modules, 'uplot/dist/uPlot.d.ts'), join(out, 'uplot.d.ts'));

const sums = ['ui.js', 'uplot.css', 'uplot.d.ts', 'uplot.js'].map((file) => {
  const digest = createHash('sha256').update(readFileSync(join(out, file))).digest('hex');
  return `${digest}  ${file}\n`;
});
writeFileSync(join(out, 'SHA256SUMS'), sums.join(''));
