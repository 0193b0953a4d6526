// @ts-check
/** Text in CSV files. Pure. */

/**
 * Return a text as a cell: quoted where it needs to be, and never a formula for a spreadsheet.
 * @param {string} text
 */
export function formatCell(text) {
  const plain = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}
