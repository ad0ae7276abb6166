// Runs the benchmarks in this folder. Each *.bench.mjs exports `name` and `run(report)`, and may
// export `description`. `report.row({label: value, …})` adds a line to the benchmark's table,
// `report.note(text)` a sentence under it. Results are ratios measured side by side in one run;
// nothing here asserts.
//
//   npm run bench -- [filter] [--json FILE] [--list]
import { readdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { formatTable } from './table.mjs';

const folder = new URL('./', import.meta.url);

async function load(filter) {
  const names = readdirSync(folder).filter((name) => name.endsWith('.bench.mjs'));
  const modules = await Promise.all(names.sort().map((name) => import(new URL(name, folder).href)));
  return modules.filter(({ name }) => name.includes(filter));
}

async function measure(bench) {
  const result = { name: bench.name, rows: [], notes: [] };
  process.stdout.write(`\n${bench.name}${bench.description ? `: ${bench.description}` : ''}\n`);
  try {
    await bench.run({
      row: (row) => void result.rows.push(row),
      note: (text) => void result.notes.push(text),
      progress: (text) => void process.stderr.write(`  ${text}\n`),
    });
  } catch (error) {
    result.error = error.message;
    process.exitCode = 1;
  }
  if (result.rows.length > 0) process.stdout.write(`${formatTable(result.rows)}\n`);
  for (const note of result.notes) process.stdout.write(`${note}\n`);
  if (result.error) process.stdout.write(`failed: ${result.error}\n`);
  return result;
}

async function main(args) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { json: { type: 'string' }, list: { type: 'boolean' } },
  });
  const benches = await load(positionals[0] ?? '');
  if (benches.length === 0) {
    process.stderr.write(`bench: nothing matches "${positionals[0] ?? ''}"\n`);
    process.exitCode = 2;
    return;
  }
  if (values.list) {
    for (const { name } of benches) process.stdout.write(`${name}\n`);
    return;
  }
  const results = [];
  // One after the other: two at once would measure each other.
  for (const bench of benches) results.push(await measure(bench));
  if (values.json) {
    const machine = { node: process.version, cpu: cpus()[0]?.model, cpus: availableParallelism() };
    const document = { measuredAt: new Date().toISOString(), machine, results };
    writeFileSync(values.json, `${JSON.stringify(document, null, 2)}\n`);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(process.argv.slice(2));
}
