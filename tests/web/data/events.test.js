import assert from 'node:assert/strict';
import { test } from 'node:test';
import { searchEvents } from '../../../web/js/data/events.js';

const EVENTS = [
  { id: 1, time: 10, kind: 'alert', level: 'error', text: 'Loss is NaN' },
  { id: 2, time: 30, kind: 'disconnected', level: 'warning', text: 'rank 3 lost its connection' },
  { id: 3, time: 30, kind: 'note', level: 'info', text: 'lowered lr' },
];
const found = (text) => searchEvents(EVENTS, text).map(({ id }) => id);

test('events are found by words in text, kind and level, newest first', () => {
  assert.deepEqual(found(''), [3, 2, 1]);
  assert.deepEqual(found('RANK warning'), [2]);
  assert.deepEqual(found('nothing'), []);
});
