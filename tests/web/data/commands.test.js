import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { RequestError } from '../../../web/js/data/api.js';
import { Commands } from '../../../web/js/data/commands.js';
import { clearRun, putCommand, state } from '../../../web/js/data/state.js';
import { command, run } from '../objects.js';

beforeEach(() => {
  clearRun();
  state.run.value = run();
});

/** Return commands over an API that answers with the id it got, or fails, and the requests. */
function recordedCommands(fail = null) {
  const sent = [];
  const api = {
    now: () => 5,
    setControl: async (id, control, body) => {
      sent.push({ run: id, control, ...body });
      if (fail) throw fail;
      return command({ id: body.id, control, value: body.value });
    },
    revert: async (id, reverted) => {
      sent.push({ run: id, reverted });
      if (fail) throw fail;
      return command({ id: 'back', control: null, values: { a: 1, b: null }, reverts: reverted });
    },
  };
  return { commands: new Commands(api), sent };
}

test('a request is sent under an id of its own, and its command is known', async () => {
  const { commands, sent } = recordedCommands();
  await commands.apply('filter_interval', 50, 'why');
  await commands.apply('filter_interval', 60);
  assert.deepEqual([sent[0].run, sent[0].value, sent[0].reason], ['r', 50, 'why']);
  assert.match(sent[0].id, /^[0-9a-f]{24}$/);
  assert.notEqual(sent[0].id, sent[1].id);
  assert.equal(state.requests.value.filter_interval.phase, 'sent');
  assert.deepEqual(
    state.commands.value.map((known) => known.value),
    [60, 50],
  );
});

test('an answer does not replace the later state of its command', async () => {
  const { commands, sent } = recordedCommands();
  const pending = commands.apply('filter_interval', 50);
  putCommand(command({ id: sent[0].id, state: 'applied' }));
  await pending;
  assert.deepEqual(
    state.commands.value.map((known) => known.state),
    ['applied'],
  );
});

test('an unreachable server and a refusal are told apart, and a retry uses the same id', async () => {
  const unreachable = recordedCommands(new RequestError(0, 'unreachable', 'no answer'));
  await unreachable.commands.apply('filter_interval', 50);
  assert.equal(state.requests.value.filter_interval.phase, 'unreachable');
  await unreachable.commands.retry('filter_interval');
  assert.equal(unreachable.sent[0].id, unreachable.sent[1].id);
  const refused = recordedCommands(new RequestError(422, 'out_of_range', 'too small'));
  await refused.commands.apply('filter_interval', 0);
  const { phase, message } = state.requests.value.filter_interval;
  assert.deepEqual([phase, message], ['rejected', 'too small']);
});

test('a revert is a command of the server, of which every control that it sets has the outcome', async () => {
  const { commands, sent } = recordedCommands();
  await commands.revert(command({ id: 'old', control: null, values: { a: 2, b: 3 } }));
  assert.deepEqual(sent, [{ run: 'r', reverted: 'old' }]);
  const { a, b } = state.requests.value;
  assert.deepEqual([a.id, a.phase, a.value, b.id, b.value], ['back', 'sent', 1, 'back', null]);
  assert.equal(state.commands.value[0].reverts, 'old');
});

test('a revert that did not reach the server is asked for again as a revert', async () => {
  const { commands, sent } = recordedCommands(new RequestError(0, 'unreachable', 'no answer'));
  await commands.revert(command({ id: 'old' }));
  assert.equal(state.requests.value.filter_interval.phase, 'unreachable');
  await commands.retry('filter_interval');
  assert.deepEqual(
    sent.map((request) => request.reverted),
    ['old', 'old'],
  );
});

test('nothing is sent without a run, and faults of the page are not swallowed', async () => {
  const { commands } = recordedCommands(new TypeError('a fault'));
  await assert.rejects(commands.apply('filter_interval', 50), TypeError);
  state.run.value = null;
  const other = recordedCommands();
  await other.commands.apply('filter_interval', 50);
  assert.deepEqual(other.sent, []);
});
