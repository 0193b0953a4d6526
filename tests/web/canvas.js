// A canvas that records what is drawn on it, for Node.

class RecordedPath {
  calls = [];
}
for (const name of ['rect', 'moveTo', 'lineTo', 'arc', 'closePath']) {
  RecordedPath.prototype[name] = function record(...args) {
    this.calls.push([name, ...args]);
  };
}
globalThis.Path2D = RecordedPath;

/** Return a plot area of 100 x 100 pixels over x and y from 0 to 100, with the list of what is drawn. */
export function recordingArea({ ratio = 1 } = {}) {
  const drawn = [];
  const context = recordingContext(drawn);
  const box = { left: 0, top: 0, width: 100, height: 100 };
  return { area: { context, box, ratio, px: (x) => x, py: (y) => 100 - y }, drawn };
}

/** Return a context that adds each call and the styles in force to a list. */
export function recordingContext(drawn) {
  const context = { measureText: (text) => ({ width: text.length * 5 }) };
  const add = (name, args) => {
    const { fillStyle, strokeStyle, globalAlpha, lineWidth } = context;
    const calls = args[0] instanceof RecordedPath ? args[0].calls : args;
    drawn.push({ name, calls, fillStyle, strokeStyle, globalAlpha, lineWidth });
  };
  const names = ['save', 'restore', 'beginPath', 'rect', 'clip', 'fill', 'stroke', 'fillText', 'moveTo', 'lineTo'];
  for (const name of [...names, 'setLineDash', 'clearRect']) context[name] = (...args) => add(name, args);
  return context;
}

/** Return the calls on the paths that were filled or stroked. */
export const paths = (drawn, name = 'fill') => drawn.filter((call) => call.name === name).map((call) => call.calls);
