import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchTexts, patternOf, patternProblem } from '../../../web/js/data/match-lines.js';

test('a search in slashes is a regular expression, and others are words', () => {
  assert.equal(patternOf(' /lost \\d+/ '), 'lost \\d+');
  assert.equal(patternOf('/a/b/'), 'a/b');
  for (const words of ['', '/', '//', 'a/b', '/home/user', 'lost 5']) assert.equal(patternOf(words), null);
});

test('an invalid expression has a reason', () => {
  assert.equal(patternProblem('a+'), '');
  assert.match(patternProblem('(a'), /Unterminated group/);
});

test('every second part of a text is a match; a text without one has no parts', () => {
  const texts = ['Step 12 of 40', 'none', ''];
  assert.deepEqual(matchTexts('\\d+', texts), [['Step ', '12', ' of ', '40', ''], null, null]);
  assert.deepEqual(matchTexts('^STEP', texts), [['', 'Step', ' 12 of 40'], null, null]);
  assert.deepEqual(matchTexts('^$', texts), [null, null, ['']]);
});
