// @ts-check
/** What the processes of a run say about themselves, as labelled texts. Pure. */
import { formatBytes } from '../format/units.js';

/** @typedef {[label: string, text: string]} Fact */
/** @typedef {{title: string, facts: Fact[]}} FactGroup */

const MAX_DEPTH = 16;
const COMMIT_CHARACTERS = 12;

/**
 * Return a value of a configuration or of JSON as one line.
 * @param {unknown} value
 */
export function valueText(value) {
  if (typeof value === 'string') return value;
  return value === null || value === undefined ? 'none' : JSON.stringify(value);
}

/**
 * Return the settings of a configuration, those of nested mappings under names joined by dots.
 * @param {Record<string, unknown>} config
 * @param {string} [prefix]
 * @param {number} [depth]
 * @returns {Fact[]}
 */
export function configFacts(config, prefix = '', depth = 0) {
  return Object.entries(config).flatMap(([name, value]) => {
    const isMapping = typeof value === 'object' && value !== null && !Array.isArray(value);
    if (isMapping && depth < MAX_DEPTH && Object.keys(value).length) {
      return configFacts(/** @type {Record<string, unknown>} */ (value), `${prefix}${name}.`, depth + 1);
    }
    return [/** @type {Fact} */ ([prefix + name, valueText(value)])];
  });
}

/**
 * Return the facts with every word of a text in their label or text.
 * @param {readonly Fact[]} facts
 * @param {string} text
 */
export function searchFacts(facts, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return facts.filter((fact) => {
    const searched = fact.join(' ').toLowerCase();
    return words.every((word) => searched.includes(word));
  });
}

/** @param {ProcessInfo['git']} git */
function gitText(git) {
  if (!git?.commit) return '';
  const state = git.dirty === undefined ? '' : git.dirty ? ', with uncommitted changes' : ', clean';
  return `${git.commit.slice(0, COMMIT_CHARACTERS)}${git.branch ? ` on ${git.branch}` : ''}${state}`;
}

/** @param {ProcessInfo['cpu']} cpu */
function cpuText(cpu) {
  if (!cpu) return '';
  const usable = cpu.usable !== undefined && cpu.usable !== cpu.count ? `, ${cpu.usable} usable` : '';
  return [cpu.model, cpu.count === undefined ? '' : `${cpu.count} cores${usable}`].filter(Boolean).join(', ');
}

/**
 * Return the devices of a process, equal ones counted: `2 × NVIDIA H200 (151 GB)`.
 * @param {ProcessInfo['devices']} devices
 */
export function devicesText(devices = []) {
  const names = devices.map(({ name, memory_bytes: bytes }) => (bytes ? `${name} (${formatBytes(bytes)})` : name));
  const count = (/** @type {string} */ name) => names.filter((other) => other === name).length;
  return [...new Set(names)].map((name) => (count(name) > 1 ? `${count(name)} × ${name}` : name)).join(', ');
}

/**
 * Return what one process says, without the long lists.
 * @param {RankProcess} process
 * @returns {FactGroup[]}
 */
export function processFacts({ host, pid, client, info }) {
  const { git, versions = {}, memory_bytes: memory } = info;
  /** @type {FactGroup[]} */
  const groups = [
    {
      title: 'Program',
      facts: [
        ['Folder', info.folder ?? ''],
        ['Git commit', gitText(git)],
        ['Repository', git?.remote ?? git?.root ?? ''],
        ['Interpreter', info.executable ?? ''],
        ['Process', pid ? String(pid) : ''],
        ['Client', client],
      ],
    },
    {
      title: 'Machine',
      facts: [
        ['Host', host || info.host || ''],
        ['System', info.os ?? ''],
        ['Processor', cpuText(info.cpu)],
        ['Memory', memory ? formatBytes(memory) : ''],
        ['Devices', devicesText(info.devices)],
      ],
    },
    { title: 'Versions', facts: [['Python', info.python ?? ''], ...Object.entries(versions)] },
  ];
  return groups
    .map(({ title, facts }) => ({ title, facts: facts.filter(([, text]) => text !== '') }))
    .filter(({ facts }) => facts.length > 0);
}
