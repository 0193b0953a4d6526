// @ts-check
/** Which of a run's metrics matter most, by their names: its speed and its loss, whatever they are called. Pure. */

/** @typedef {'rate' | 'loss'} Role */

/**
 * Patterns for the name of a metric, best first.
 * @type {Record<Role, RegExp[]>}
 */
const PATTERNS = {
  rate: [/^qps$/i, /(^|[/_.])qps$/i, /(samples|examples|steps|iterations|it)_per_s(ec|econd)?$/i, /throughput$/i],
  loss: [/^loss$/i, /^(train|training)[/_.](.*[/_.])?loss$/i, /(^|[/_.])loss$/i, /loss/i],
};
/** Metrics that are reported about the training rather than by it. */
const FOREIGN = /^(monitor|system|table|time)\//;

/**
 * Return whether the training itself reports a metric.
 * @param {string} key
 */
export const isOwnMetric = (key) => !FOREIGN.test(key);

/** @type {readonly Role[]} */
export const ROLES = ['rate', 'loss'];

/** @type {Record<Role, string>} */
export const ROLE_LABELS = { rate: 'Speed', loss: 'Loss' };

/**
 * Return the metric of a run that plays a role, or undefined when there is none.
 * @param {Iterable<string>} keys
 * @param {Role} role
 */
export function metricOf(keys, role) {
  const candidates = [...keys].filter(isOwnMetric);
  for (const pattern of PATTERNS[role]) {
    const found = candidates.filter((key) => pattern.test(key)).sort((a, b) => a.length - b.length);
    if (found.length) return found[0];
  }
  return undefined;
}

/**
 * Return the metrics to show first: the chosen ones that exist, else the speed and the loss, else any two.
 * @param {readonly string[]} keys in display order
 * @param {readonly string[]} chosen
 * @returns {string[]}
 */
export function headlineMetrics(keys, chosen) {
  const known = new Set(keys);
  const existing = chosen.filter((key) => known.has(key));
  if (existing.length) return existing;
  const found = ROLES.flatMap((role) => metricOf(keys, role) ?? []);
  return found.length ? found : keys.filter(isOwnMetric).slice(0, 2);
}

/**
 * Return the label of a metric in a heading: "Loss" and "QPS" by themselves, other names as they are.
 * @param {string} key
 */
export function metricLabel(key) {
  if (key === 'qps') return 'QPS';
  return key === 'loss' ? 'Loss' : key;
}
