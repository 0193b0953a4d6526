// @ts-check
/** A chart as an image with its title and legend, for use outside of the page. */

const FONT = 'system-ui, sans-serif';
const MARGIN_PX = 12;
const LINE_PX = 20;
const SAMPLE_PX = 16;

/** @typedef {{width: number, colors: {background: string, text: string}}} ImageStyle `width` in CSS pixels */

/**
 * Draw legend entries in rows.
 * @param {CanvasRenderingContext2D} pen
 * @param {readonly LegendEntry[]} entries
 * @param {number} top
 * @param {ImageStyle} style
 * @returns {number} the lower edge
 */
function drawLegend(pen, entries, top, { width, colors }) {
  pen.font = `12px ${FONT}`;
  let x = MARGIN_PX;
  let y = top;
  for (const { name, style } of entries) {
    const needed = SAMPLE_PX + 6 + pen.measureText(name).width + MARGIN_PX;
    if (x > MARGIN_PX && x + needed > width) {
      x = MARGIN_PX;
      y += LINE_PX;
    }
    pen.strokeStyle = style.color;
    pen.lineWidth = 2.5;
    pen.setLineDash(style.dash);
    pen.beginPath();
    pen.moveTo(x, y + LINE_PX / 2);
    pen.lineTo(x + SAMPLE_PX, y + LINE_PX / 2);
    pen.stroke();
    pen.fillStyle = colors.text;
    pen.fillText(name, x + SAMPLE_PX + 6, y + LINE_PX / 2);
    x += needed;
  }
  return entries.length ? y + LINE_PX : top;
}

/**
 * Return a canvas with the title, the plot and the legend of a chart.
 * @param {HTMLCanvasElement} plot
 * @param {string} title
 * @param {readonly LegendEntry[]} entries
 * @param {ImageStyle} style
 */
export function chartImage(plot, title, entries, style) {
  const ratio = plot.width / style.width;
  const canvas = document.createElement('canvas');
  const plotHeight = plot.height / ratio;
  const above = LINE_PX + MARGIN_PX;
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  const height = drawLegend(pen, entries, above + plotHeight, style) + MARGIN_PX / 2;
  canvas.width = plot.width;
  canvas.height = Math.ceil(height * ratio);
  pen.scale(ratio, ratio);
  pen.fillStyle = style.colors.background;
  pen.fillRect(0, 0, style.width, height);
  pen.textBaseline = 'middle';
  pen.fillStyle = style.colors.text;
  pen.font = `600 14px ${FONT}`;
  pen.fillText(title, MARGIN_PX, above / 2, style.width - 2 * MARGIN_PX);
  drawLegend(pen, entries, above + plotHeight, style);
  pen.drawImage(plot, 0, above, style.width, plotHeight);
  return canvas;
}
