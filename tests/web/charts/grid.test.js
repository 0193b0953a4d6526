import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fittingColumns, placeSections, sectionColumns } from '../../../web/js/charts/grid.js';

test('as many columns fit as there is room for, and always one', () => {
  assert.equal(fittingColumns(1360, 320, 12), 4);
  assert.equal(fittingColumns(1316, 320, 12), 4);
  assert.equal(fittingColumns(1315, 320, 12), 3);
  assert.equal(fittingColumns(0, 320, 12), 1);
});

test('a row that is nearly full is filled, and a short one keeps the width of the others', () => {
  assert.deepEqual(
    [1, 2, 3, 4].map((count) => sectionColumns(count, 4)),
    [4, 4, 3, 4],
  );
  assert.equal(sectionColumns(1, 1), 1);
});

test('rows are filled where a number of columns near the one that fits does so', () => {
  assert.equal(sectionColumns(8, 4), 4);
  assert.equal(sectionColumns(6, 4), 3);
  assert.equal(sectionColumns(9, 4), 3);
  assert.equal(sectionColumns(10, 4), 4, 'two of four are better than one of three');
});

test('no card is alone in the last row where that can be avoided', () => {
  for (let fitting = 2; fitting <= 6; fitting++) {
    for (let count = 1; count <= 60; count++) {
      const columns = sectionColumns(count, fitting);
      assert.ok(columns >= 1 && columns <= fitting + 1, `${count} in ${fitting}`);
      const avoidable = [fitting - 1, fitting, fitting + 1].some(
        (near) => near >= Math.max(2, fitting * 0.6) && count % near !== 1,
      );
      if (count > fitting && avoidable) assert.notEqual(count % columns, 1, `${count} in ${fitting}: ${columns}`);
    }
  }
});

test('small sections share a row, and the last one has what is left of it', () => {
  const place = (span, columns) => ({ span, columns });
  assert.deepEqual(placeSections([3, 2], 5), [place(3, 3), place(2, 2)]);
  assert.deepEqual(placeSections([3, 1, 4], 5), [place(3, 3), place(2, 2), place(5, 4)]);
  assert.deepEqual(placeSections([1], 5), [place(5, 5)], 'one card is not drawn out');
  assert.deepEqual(placeSections([2, 0, 2], 4), [place(4, 4), place(4, 4), place(4, 4)]);
  assert.deepEqual(placeSections([2, 9, 2], 4), [place(4, 4), place(4, 3), place(4, 4)]);
  assert.deepEqual(placeSections([1, 1], 1), [place(1, 1), place(1, 1)]);
  assert.deepEqual(placeSections([], 4), []);
});

test('sections fill rows of the page and never more', () => {
  for (let seed = 1; seed < 300; seed++) {
    const fitting = 1 + (seed % 6);
    const counts = Array.from({ length: 8 }, (_, i) => (seed * (i + 7)) % 9);
    let used = 0;
    for (const { span, columns } of placeSections(counts, fitting)) {
      used += span;
      assert.ok(used <= fitting && columns >= 1, `${counts} in ${fitting}`);
      if (used === fitting) used = 0;
    }
    assert.equal(used, 0);
  }
});
