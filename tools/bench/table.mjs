// A plain-text table from records: one column per key in order of first appearance, numbers to
// the right with at most three decimals.

const text = (value) => {
  if (typeof value !== 'number') return value === undefined ? '' : String(value);
  return Number.isInteger(value) ? String(value) : String(Math.round(value * 1000) / 1000);
};

export function formatTable(rows) {
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const columns = keys.map((key) => {
    const cells = rows.map((row) => text(row[key]));
    const isNumber = rows.every((row) => row[key] === undefined || typeof row[key] === 'number');
    const width = Math.max(key.length, ...cells.map((cell) => cell.length));
    const pad = (cell) => (isNumber ? cell.padStart(width) : cell.padEnd(width));
    return [pad(key), '-'.repeat(width), ...cells.map(pad)];
  });
  const height = rows.length + 2;
  return Array.from({ length: height }, (_, line) =>
    columns
      .map((column) => column[line])
      .join('  ')
      .trimEnd(),
  ).join('\n');
}
