// @ts-check
/** The effect of a command in words and figures. Pure. */
import { formatEstimate } from '../format/estimates.js';
import { formatInteger, pluralize } from '../format/numbers.js';
import { formatRanks } from '../format/ranks.js';

const VERDICTS = {
  higher: 'higher',
  lower: 'lower',
  noise: 'within the noise',
  unknown: 'too few values',
};
const CUTS = {
  start: 'the run began',
  end: 'the run has ended',
  earlier: 'this was changed before',
  superseded: 'this was changed again',
};

/**
 * @param {string} key
 * @param {EffectSide} side
 */
function sideText(key, { mean, error, nan }) {
  return `${formatEstimate(key, mean, error)}${nan ? `, ${formatInteger(nan)} not finite` : ''}`;
}

/**
 * Return the result in words; a trend that alone would have made most of the difference is the likely reason for it.
 * @param {EffectMetric} metric
 */
function verdictText({ verdict, difference, trend }) {
  if (verdict !== 'trend') return VERDICTS[verdict];
  const share = Number(trend) / Number(difference);
  if (share > 0.5) return 'as its trend before';
  return `${Number(difference) > 0 ? 'higher' : 'lower'}, perhaps by a trend`;
}

/**
 * Return the figures of a metric as the cells of a row.
 * @param {EffectMetric} metric
 */
export function effectRow(metric) {
  const { key, role, table, before, after, difference, noise, verdict } = metric;
  const names = /** @type {Record<string, string>} */ ({ rows: `${table}: rows`, pass_ms: `${table}: filter pass` });
  const sign = Number(difference) > 0 ? '+' : '';
  return {
    name: names[role] ?? key,
    before: sideText(key, before),
    after: sideText(key, after),
    change: difference === null ? '–' : `${sign}${formatEstimate(key, difference, noise)}`,
    verdict: verdictText(metric),
    isEffect: verdict === 'higher' || verdict === 'lower',
  };
}

/**
 * Return which steps are compared, or why none are.
 * @param {Effect} effect
 */
export function effectText({ state, message, missing_steps: missing, steps, windows }) {
  const length = formatInteger(windows?.steps);
  if (state === 'waiting') {
    return `Not enough steps yet: ${formatInteger(missing)} more for ${length} after the change.`;
  }
  if (state !== 'measured') return message;
  const at = [...new Set(Object.values(steps))].sort((a, b) => a - b);
  const where = at.length === 1 ? `step ${formatInteger(at[0])}` : 'the step of each rank';
  const cut = windows?.cut ? ` No more, as ${CUTS[windows.cut]}.` : '';
  return `${length} steps before and after ${where}.${cut}`;
}

/**
 * Return what is worth knowing of the figures.
 * @param {Effect} effect
 * @returns {string[]}
 */
export function effectNotes({ also, without, ranks_left_out: ranks, tables_left_out: tables, metrics }) {
  const repeated = Math.max(0, ...metrics.map((metric) => metric.repeated));
  const others = Object.keys(without);
  const notes = [
    also.length > 0 &&
      `Also changed: ${also.map((one) => `${one.controls.join(', ')} at step ${one.step}`).join('; ')}.`,
    others.length > 0 && `Not applied on ${formatRanks(others)}.`,
    repeated > 0 && `${pluralize(repeated, 'step')} before it, trained again by a later attempt, left out.`,
    ranks > 0 && `${pluralize(ranks, 'further rank')} left out.`,
    tables > 0 && `${pluralize(tables, 'further table')} left out.`,
  ];
  return /** @type {string[]} */ (notes.filter(Boolean));
}
