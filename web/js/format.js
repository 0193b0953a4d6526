// @ts-check
/** Text for numbers, sizes, ages and names. Pure: no document, no state, no clock of its own. */

const SUFFIXES = ['', ' k', ' M', ' G', ' T', ' P'];
const THIN = '\u202f';

/** The value in words where it is not a finite number. @param {unknown} value @returns {string | null} */
function special(value) {
  if (value === null || value === undefined) return '–';
  const number = Number(value);
  if (Number.isNaN(number)) return 'NaN';
  if (!Number.isFinite(number)) return number > 0 ? '∞' : '−∞';
  return null;
}

const minus = (/** @type {string} */ text) => text.replace('-', '−').replace('e−', 'e-').replace('e+', 'e');

/** Three to four significant digits and an SI suffix: 0.4312, 12.3, 208 k. @param {unknown} value */
export function short(value) {
  const word = special(value);
  if (word !== null) return word;
  const number = Number(value);
  const size = Math.abs(number);
  if (size === 0) return '0';
  if (size < 1e-4 || size >= 1e18) return minus(number.toExponential(2));
  if (size < 1e-2) return minus(String(Number(number.toPrecision(3))));
  if (size < 1) return minus(number.toPrecision(4));
  let power = Math.min(SUFFIXES.length - 1, Math.floor(Math.log10(size) / 3));
  if (Number((size / 1000 ** power).toPrecision(power ? 3 : 4)) >= 1000 && power < SUFFIXES.length - 1) power += 1;
  const scaled = number / 1000 ** power;
  if (power === 0 && Number.isInteger(number)) return minus(String(number));
  return minus(scaled.toPrecision(power ? 3 : 4)) + SUFFIXES[power];
}

/** A whole number in groups of three: 1 204 331. @param {unknown} value */
export function whole(value) {
  const word = special(value);
  if (word !== null) return word;
  return minus(String(Math.round(Number(value))).replace(/\B(?=(\d{3})+(?!\d))/g, THIN));
}

/** All digits, for titles. @param {unknown} value */
export function full(value) {
  const word = special(value);
  if (word !== null) return word;
  const number = Number(value);
  return Number.isInteger(number) ? whole(number) : minus(String(number));
}

/** Bytes in powers of 1000, as axes have them: 6.3 MB. @param {unknown} value */
export function bytes(value) {
  const word = special(value);
  if (word !== null) return word;
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let size = Number(value);
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** A share as a percentage with two digits: 0.031 %. @param {unknown} value */
export function percent(value) {
  const word = special(value);
  if (word !== null) return word;
  const share = Number(value) * 100;
  if (share > 0 && share < 0.001) return '< 0.001 %';
  return `${minus(String(Number(share.toPrecision(2))))} %`;
}

/** A series' value in the unit that its name tells. @param {string} key @param {unknown} value */
export function measure(key, value) {
  if (/(^|[/_])bytes$/.test(key)) return bytes(value);
  if (/_us(_p\d+)?$/.test(key)) return special(value) ?? duration(Number(value) / 1000);
  return /_ms$/.test(key) ? duration(value) : short(value);
}

/** Milliseconds with a fitting unit. @param {unknown} value */
export function duration(value) {
  const word = special(value);
  if (word !== null) return word;
  const ms = Number(value);
  if (ms < 1) return `${ms < 0.01 ? Number((ms * 1000).toFixed(1)) : Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  return age(ms / 1000);
}

/** A length of time in its largest unit: 1 s, 4 min, 3 h, 12 d. @param {number} seconds */
export function age(seconds) {
  const s = Math.max(0, seconds);
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

/** Seconds since the epoch of an ISO text or a number of seconds; NaN for anything else. @param {unknown} value */
export function seconds(value) {
  if (typeof value === 'number') return value;
  return typeof value === 'string' ? Date.parse(value) / 1000 : NaN;
}

/** Local date and time, to the second. @param {unknown} value */
export function moment(value) {
  const at = seconds(value);
  if (Number.isNaN(at)) return '–';
  const date = new Date(at * 1000);
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Axis labels for these ticks, all with the same suffix and the same number of digits. @param {readonly number[]} ticks */
export function ticks(ticks) {
  const size = Math.max(...ticks.map(Math.abs), 0);
  const gap = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : size || 1;
  if (size !== 0 && (size < 1e-3 || size >= 1e18)) return ticks.map((t) => (t === 0 ? '0' : minus(t.toExponential(1))));
  const power = size < 1000 ? 0 : Math.min(SUFFIXES.length - 1, Math.floor(Math.log10(size) / 3));
  const unit = Number((gap / 1000 ** power).toPrecision(2)); // 0.25 is a gap, and 0.75 is no 0.8
  let digits = 0;
  while (digits < 6 && Number(unit.toFixed(digits)) !== unit) digits += 1;
  return ticks.map((t) => (t === 0 ? '0' : minus((t / 1000 ** power).toFixed(digits)) + SUFFIXES[power].trim()));
}

const round = (/** @type {number} */ value) => Number(value.toPrecision(10));

/** Where a logarithmic axis has ticks: at 1, 2 and 5 times a power of ten, fewer over many decades, even ones within a narrow range. @param {number} low @param {number} high */
export function logSplits(low, high) {
  const decades = Math.log10(high / low);
  const every = Math.max(1, Math.ceil(decades / 6));
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    if (power % every) continue;
    for (const factor of decades > 2 ? [1] : [1, 2, 5]) {
      const tick = round(factor * 10 ** power);
      if (tick >= low && tick <= high) found.push(tick);
    }
  }
  if (found.length > 1) return found;
  const raw = (high - low) / 4;
  const size = 10 ** Math.floor(Math.log10(raw));
  const gap = size * ([1, 2, 5].find((n) => n * size >= raw) ?? 10);
  const even = [];
  for (let n = Math.ceil(low / gap - 1e-9); n * gap <= high + gap * 1e-9; n++) even.push(round(n * gap));
  return even;
}

/** Labels of a logarithmic axis; each stands for itself. @param {readonly (number | null)[]} at */
export function logTicks(at) {
  return at.map((t) => {
    if (t === null) return '';
    if (t < 1e-4 || t >= 1e18) return minus(t.toExponential(0));
    const power = t < 1000 ? 0 : Math.min(SUFFIXES.length - 1, Math.floor(Math.log10(t) / 3));
    return Number((t / 1000 ** power).toPrecision(3)) + SUFFIXES[power].trim();
  });
}

/** Labels of a time axis; `gap` is the distance of the ticks, in seconds. @param {readonly number[]} at @param {number} gap */
export function clockTicks(at, gap) {
  return at.map((t) => {
    const [day, clock] = moment(t).split(' ');
    if (gap >= 86400) return day.slice(5);
    return clock === '00:00:00' ? day.slice(5) : gap < 60 ? clock : clock.slice(0, 5);
  });
}

/** A control's value as people read it. @param {unknown} value @param {string} [unit] */
export function setting(value, unit = '') {
  if (value === null || value === undefined) return 'off';
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value === 'object' && 'active' in value) {
    const ranks = /** @type {number[] | undefined} */ ('ranks' in value ? value.ranks : undefined);
    return `${plural(Number(value.active), 'step')}${ranks ? ` on rank ${ranks.join(', ')}` : ''}`;
  }
  if (typeof value === 'object') return JSON.stringify(value);
  return unit ? `${value} ${unit}` : String(value);
}

/** One of two words by number. @param {number} count @param {string} one @param {string} [many] */
export function plural(count, one, many = `${one}s`) {
  return `${whole(count)} ${count === 1 ? one : many}`;
}
