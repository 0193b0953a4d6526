// What the server sends, with defaults for the members that a test does not care about.

export const run = (members = {}) => ({
  ...{ id: 'r', project: 'films', name: 'deepfm', state: 'running', message: '', ranks: [0], world_size: 1 },
  ...{ created_at: '2026-01-01T00:00:00Z', updated_at: '2026-01-01T00:00:00Z', attempts: 1, last_step: 10 },
  ...{ summary: {}, tags: [], notes: '', archived: false, config: {}, received: { points: 0, missing: 0, dropped: 0 } },
  ...members,
});

export const pass = (members = {}) => ({
  ...{ step: 100, time: 1, rank: 0, table: 'user', interval: 100, rows_before: 1000, evicted: 40, rows_after: 960 },
  ...{ admitted: 60, milliseconds: 1.5, bytes: 6000 },
  ...members,
});

export const command = (members = {}) => ({
  ...{ id: 'c', control: 'filter_interval', value: 200, state: 'pending', requested_by: '', requested_at: '' },
  ...{ values: { [members.control ?? 'filter_interval']: members.value ?? 200 }, superseded_by: null, reverts: null },
  ...{ reason: '', apply_at_step: null, waiting_for: [], away: [], ranks: {} },
  ...members,
});

/** The control `filter_interval`: an integer of at least 1, or none. */
export const control = (members = {}) => ({
  ...{ name: 'filter_interval', type: 'int', value: 100, desired: 100, minimum: 1, maximum: null },
  ...{ nullable: true, unit: 'steps', choices: null, apply: 'together', confirm: '', differs: [], ranks: {} },
  ...members,
});
