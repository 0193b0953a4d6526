import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  differsText,
  expectedText,
  fieldText,
  formatValue,
  parseValue,
  steppedText,
  valueText,
} from '../../../web/js/controls/value.js';
import { control } from '../objects.js';

test('acceptable values are parsed', () => {
  assert.deepEqual(parseValue(control(), ' 250 '), { ok: true, value: 250 });
  assert.deepEqual(parseValue(control({ type: 'float' }), '1e1'), { ok: true, value: 10 });
  assert.deepEqual(parseValue(control({ type: 'str' }), ' as it is '), { ok: true, value: ' as it is ' });
  assert.deepEqual(parseValue(control({ type: 'bool' }), 'true'), { ok: true, value: true });
});

test('unacceptable values are answered with the name, what is expected and what was entered', () => {
  const problems = {
    0: '0 is below 1',
    '-1': '-1 is below 1',
    1.5: '1.5 is not an integer',
    x: '“x” is not a number',
    '': 'the field is empty',
    '0x10': '“0x10” is not a number',
    Infinity: '“Infinity” is not a number',
    '1e400': '“1e400” is not a number',
    True: '“True” is not a number',
  };
  for (const [text, problem] of Object.entries(problems)) {
    const parsed = parseValue(control(), text);
    assert.equal(parsed.ok, false, text);
    assert.equal(parsed.message, `filter_interval must be an integer of at least 1, or none; ${problem}.`);
  }
});

test('both bounds are named, and a long text is shortened', () => {
  const scale = control({ name: 'lr_scale', type: 'float', minimum: 0, maximum: 10, nullable: false });
  assert.equal(expectedText(scale), 'a number between 0 and 10');
  assert.match(parseValue(scale, '11').message, /11 is above 10/);
  assert.ok(parseValue(scale, 'y'.repeat(10_000)).message.length < 140);
});

test('values have their unit, and profiles their steps and ranks', () => {
  const texts = [
    formatValue(null),
    formatValue(true),
    formatValue(100, 'steps'),
    formatValue({ active: 1, ranks: [0, 3] }),
  ];
  assert.deepEqual(texts, ['none', 'on', '100 steps', '1 step on rank 0, 3']);
});

test('arrow keys change a number within its bounds', () => {
  assert.equal(steppedText(control(), '5', -1, true), '1');
  assert.equal(steppedText(control(), '5', 1, false), '6');
  assert.equal(steppedText(control({ type: 'float' }), '2', 1, false), '2.2');
  assert.equal(steppedText(control(), 'x', 1, false), null);
});

test('a choice keeps its type on the way through its field', () => {
  const choices = ['sum', '1', 1, true];
  const combiner = control({ name: 'combiner', type: 'enum', choices, nullable: false, minimum: null });
  const parsed = choices.map((choice) => parseValue(combiner, fieldText(combiner, choice)));
  assert.deepEqual(
    parsed,
    choices.map((value) => ({ ok: true, value })),
  );
  assert.equal(expectedText(combiner), 'one of sum, 1, 1, on');
  const none = parseValue(combiner, fieldText(combiner, null));
  assert.equal(none.message, 'combiner must be one of sum, 1, 1, on; nothing is chosen.');
});

test('what is asked of an action is its name, also where none is a value', () => {
  assert.equal(valueText(control({ name: 'stop', type: 'action' }), null), 'stop');
  assert.equal(valueText(control(), null), 'none');
});

test('ranks that differ are named with what they have', () => {
  const ranks = { 0: { value: 200 }, 1: { value: 100 }, 2: { value: 100 }, 3: { value: null } };
  assert.equal(differsText(control({ ranks })), '');
  assert.equal(differsText(control({ ranks, differs: [1, 2], value: 100, desired: 200 })), 'not yet 200 steps');
  assert.equal(
    differsText(control({ ranks, differs: [1, 2, 3], value: 200 })),
    'but ranks 1 and 2 have 100 steps, rank 3 has none',
  );
});
