/**
 * A training whose speed can be changed on the page while it runs.
 *
 *     node train.mjs http://127.0.0.1:8765 --steps 5000
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Client } from "./client.mjs";

const text = (value) => ({ type: "string", default: value });
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { run: text(`node-${Date.now()}`), steps: text("5000"), token: text(process.env.RECIS_MONITOR_TOKEN ?? "") },
});
const [url = "http://127.0.0.1:8765"] = positionals;
const { run, token } = values;
const steps = Number(values.steps);

const waiting = []; // commands that wait for the end of a step
const onCommand = (command) => waiting.push(command);
const client = new Client(url, { run, token, onCommand, name: "JavaScript", project: "examples", config: { steps } });
const speed = { t: "declare", control: "speed", type: "float", value: 200, minimum: 1, maximum: 1000, unit: "steps/s" };
client.report(speed);

for (let step = 1; step <= steps && !client.refusal; step++) {
  await sleep(1000 / speed.value); // the work
  client.log(step, { loss: 1 / (1 + step / 100), speed: speed.value });
  // Between two steps nothing is computed: here a new value is safe.
  for (const command of waiting.splice(0)) {
    if (command.apply_at_step > step) waiting.push(command);
    else client.report(apply(command, step));
  }
}

const stored = await client.finish();
console.log(stored ? `stored: ${url}/run/${run}` : "NOT everything is stored");
process.exitCode = stored ? 0 : 1;

/** Sets the speed, and answers with the values before and after. The server has checked the value; we check again. */
function apply({ id, control, value }, step) {
  const old = speed.value;
  const fits = control === "speed" && value >= speed.minimum && value <= speed.maximum;
  if (fits) speed.value = value;
  const message = fits ? "" : `expected speed from ${speed.minimum} to ${speed.maximum}, got ${control} = ${value}`;
  const state = fits ? "applied" : "rejected";
  return { t: "result", command: id, control, state, step, old, new: speed.value, message };
}
