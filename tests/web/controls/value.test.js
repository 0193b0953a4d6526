// What may be typed into a control, and the answers that teach.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expects, readValue } from '../../web/js/value.js';

const interval = {
  name: 'filter_interval',
  type: 'int',
  value: 100,
  desired: 100,
  minimum: 1,
  maximum: null,
  nullable: true,
  unit: 'steps',
  ranks: {},
};

test('good values are taken', () => {
  assert.deepEqual(readValue(interval, ' 250 '), { ok: true, value: 250 });
  assert.deepEqual(readValue({ ...interval, type: 'float' }, '1e1'), { ok: true, value: 10 });
  assert.deepEqual(readValue({ ...interval, type: 'str' }, ' as it is '), { ok: true, value: ' as it is ' });
});

test('bad values are answered with the name, what is expected and what came', () => {
  const answers = {
    0: '0 is below 1',
    '-1': '-1 is below 1',
    1.5: '1.5 is not a whole number',
    x: '“x” is not a number',
    '': 'the field is empty',
    '0x10': '“0x10” is not a number',
    Infinity: '“Infinity” is not a number',
    '1e400': '“1e400” is not a number',
    True: '“True” is not a number',
  };
  for (const [text, why] of Object.entries(answers)) {
    const found = readValue(interval, text);
    assert.equal(found.ok, false, text);
    assert.equal(found.message, `filter_interval must be a whole number of 1 or more, or off; ${why}.`);
  }
});

test('both bounds are named, and a long text is cut', () => {
  const scale = { ...interval, name: 'lr_scale', type: 'float', minimum: 0, maximum: 10, nullable: false };
  assert.equal(expects(scale), 'a number between 0 and 10');
  assert.match(readValue(scale, '11').message, /11 is above 10/);
  assert.ok(readValue(scale, 'y'.repeat(10_000)).message.length < 140);
});
