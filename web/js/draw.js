// @ts-check
/** Paints series on a canvas: bands, lines, bars and marks. Knows a context, a box and two mappings, nothing else. */

/** @param {Plot} plot @param {() => void} paint */
export function clipped({ g, box, ratio }, paint) {
  g.save();
  g.beginPath();
  g.rect(box.left, box.top, box.width + 4 * ratio, box.height);
  g.clip();
  paint();
  g.restore();
}

/**
 * The span from minimum to maximum as one pixel-aligned rectangle a pixel column. A filled outline would fade a spike of
 * one bucket to nothing; this shows it at full strength. Buckets that share a column are merged first.
 * @param {Plot} plot @param {Series} s @param {(i: number) => [number, number]} span where a bucket begins and ends on the x axis @param {string} color
 */
export function band({ g, box, px, py, ratio }, s, span, color) {
  const path = new Path2D();
  const least = Math.max(1, Math.round(ratio));
  let column = NaN;
  let right = 0;
  let low = Infinity;
  let high = -Infinity;
  const flush = () => {
    if (high <= low) return;
    const top = Math.floor(py(high));
    path.rect(column, top, Math.max(least, right - column), Math.max(1, Math.ceil(py(low)) - top));
  };
  for (let i = 0; i < s.n; i++) {
    const [start, end] = span(i);
    const from = Math.floor(px(start));
    const to = Math.floor(px(end));
    if (to < box.left || from > box.left + box.width || Number.isNaN(s.min[i])) continue;
    if (from !== column) {
      flush();
      column = from;
      low = Infinity;
      high = -Infinity;
    }
    right = to;
    if (s.min[i] < low) low = s.min[i];
    if (s.max[i] > high) high = s.max[i];
  }
  flush();
  g.fillStyle = color;
  g.fill(path);
}

/**
 * A line through the buckets; NaN interrupts it, a lone point becomes a dot.
 * @param {Plot} plot @param {ArrayLike<number>} xs @param {ArrayLike<number>} ys @param {number} n
 * @param {{color: string, width: number, alpha?: number, dash?: number[], shift?: number}} pen
 */
export function line({ g, box, px, py, ratio }, xs, ys, n, { color, width, alpha = 1, dash = [], shift = 0 }) {
  const path = new Path2D();
  const dots = new Path2D();
  let drawing = false;
  let length = 0;
  let x = 0;
  let y = 0;
  const finish = () => {
    if (length === 1) dots.arc(x, y, Math.max(1.5, width) * ratio, 0, 7);
    length = 0;
    drawing = false;
  };
  for (let i = 0; i < n; i++) {
    if (Number.isNaN(ys[i])) {
      finish();
      continue;
    }
    const nextX = px(xs[i] + shift);
    if (i + 1 < n && px(xs[i + 1] + shift) < box.left) continue;
    x = nextX;
    y = py(ys[i]);
    if (drawing) path.lineTo(x, y);
    else path.moveTo(x, y);
    drawing = true;
    length += 1;
    if (x > box.left + box.width) break;
  }
  finish();
  g.save();
  g.globalAlpha = alpha;
  g.strokeStyle = color;
  g.fillStyle = color;
  g.lineWidth = width * ratio;
  g.lineJoin = 'round';
  g.setLineDash(dash.map((d) => d * ratio));
  g.stroke(path);
  g.fill(dots);
  g.restore();
}

/** The newest point as a dot, so that the eye finds where "now" is. @param {Plot} plot @param {number} x @param {number} y @param {string} color */
export function endDot({ g, px, py, ratio }, x, y, color) {
  if (Number.isNaN(y)) return;
  g.fillStyle = color;
  g.beginPath();
  g.arc(px(x), py(y), 2.5 * ratio, 0, 7);
  g.fill();
}

/** Buckets with NaN or infinite values: triangles along the upper edge. @param {Plot} plot @param {Series} s @param {Float64Array} xs @param {string} color */
export function nonFiniteMarks({ g, box, px, ratio }, s, xs, color) {
  const path = new Path2D();
  const size = 4 * ratio;
  let taken = -Infinity;
  for (let i = 0; i < s.n; i++) {
    if (!s.nan[i]) continue;
    const x = px(xs[i]);
    if (x - taken < size || x < box.left || x > box.left + box.width) continue;
    taken = x;
    path.moveTo(x - size, box.top);
    path.lineTo(x + size, box.top);
    path.lineTo(x, box.top + size * 1.6);
    path.closePath();
  }
  g.fillStyle = color;
  g.fill(path);
}

/** Sums of each bucket as bars from zero, upwards or (with `sign` -1) downwards. @param {Plot} plot @param {Series} s @param {Float64Array} xs @param {1 | -1} sign @param {string} color */
export function bars({ g, box, px, py, ratio }, s, xs, sign, color) {
  const path = new Path2D();
  const zero = Math.round(py(0));
  const gap = s.n > 1 ? (px(xs[s.n - 1]) - px(xs[0])) / (s.n - 1) : 8 * ratio;
  const wide = Math.max(Math.round(ratio), Math.min(Math.round(6 * ratio), Math.floor(gap * 0.7)));
  for (let i = 0; i < s.n; i++) {
    const x = Math.round(px(xs[i]) - wide / 2);
    if (x + wide < box.left || x > box.left + box.width) continue;
    const sum = s.mean[i] * (s.count[i] - s.nan[i]);
    if (!(sum > 0)) continue;
    const y = Math.round(py(sign * sum));
    path.rect(x, Math.min(y, zero), wide, Math.max(Math.round(ratio), Math.abs(zero - y)));
  }
  g.fillStyle = color;
  g.fill(path);
}

/** Steps of filter passes as ticks on the lower edge. @param {Plot} plot @param {readonly number[]} xs @param {string} color */
export function passTicks({ g, box, px, ratio }, xs, color) {
  const path = new Path2D();
  let taken = -1;
  for (const at of xs) {
    const x = Math.round(px(at));
    if (x === taken || x < box.left || x > box.left + box.width) continue;
    taken = x;
    path.rect(x, box.top + box.height - 5 * ratio, Math.max(1, Math.round(ratio)), 5 * ratio);
  }
  g.fillStyle = color;
  g.fill(path);
}

/** Events as vertical lines, named above the plot; a label that would run into the one before is left out. @param {Plot} plot @param {readonly Mark[]} marks */
export function eventMarks({ g, box, px, ratio }, marks) {
  g.save(); // uPlot remembers the styles it has set and would not set them again
  g.font = `${10 * ratio}px system-ui, sans-serif`;
  g.textBaseline = 'alphabetic';
  g.textAlign = 'left';
  let free = -Infinity;
  for (const mark of marks) {
    const x = Math.round(px(mark.x)) + 0.5;
    if (x < box.left - 1 || x > box.left + box.width + 1) continue;
    g.strokeStyle = mark.color;
    g.lineWidth = Math.max(1, Math.round(ratio));
    g.setLineDash(mark.dash ? [3 * ratio, 3 * ratio] : []);
    g.beginPath();
    g.moveTo(x, box.top);
    g.lineTo(x, box.top + box.height);
    g.stroke();
    const width = g.measureText(mark.label).width + 8 * ratio;
    const left = Math.max(box.left, Math.min(x - 2 * ratio, box.left + box.width - width));
    if (left < free) continue;
    free = left + width;
    g.fillStyle = mark.color;
    g.fillText(mark.label, left, box.top - 3 * ratio);
  }
  g.restore();
}

/** A line without axes, filling its canvas: for lists. @param {HTMLCanvasElement} canvas @param {Series | undefined} s @param {string} color @param {number} ratio */
export function sparkline(canvas, s, color, ratio) {
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const g = canvas.getContext('2d');
  if (!g) return;
  g.clearRect(0, 0, width, height);
  if (!s || s.n < 2) return;
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < s.n; i++) {
    if (s.min[i] < low) low = s.min[i];
    if (s.max[i] > high) high = s.max[i];
  }
  const pad = 2 * ratio;
  const scale = high > low ? (height - 2 * pad) / (high - low) : 0;
  const across = (width - 2 * pad) / (s.x[s.n - 1] - s.x[0] || 1);
  /** @type {Plot} */
  const plot = {
    g,
    ratio,
    box: { left: 0, top: 0, width, height },
    px: (x) => pad + (x - s.x[0]) * across,
    py: (y) => (scale ? height - pad - (y - low) * scale : height / 2),
  };
  g.globalAlpha = 0.25;
  band(plot, s, (i) => [s.x[i], s.x[i] + s.width], color);
  g.globalAlpha = 1;
  line(plot, s.x, s.mean, s.n, { color, width: 1.25 });
}
