// Everything there is to test (CLOISTER_FULL=1: every kernel and entry, full fuzzing), and every
// test of the emulated processor again with its code never translated and translated at once, with
// the samples of a normal run. Then, with --record, the outcome as docs/test-full.md: when, on
// which commit and machine, how many and how long.
//
//   npm run test:full -- [--record]
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from './lib/workspace.mjs';
import { runProjects, summaryLine, totalOf } from './test.mjs';

const git = (...args) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();

/** The page: a table of the projects, then what failed and what was skipped, by name. */
export function page({ date, commit, changed, node, cpu, results }) {
  const row = (name, { passed, failed, skipped }, seconds) =>
    `| ${name} | ${passed} | ${failed} | ${skipped} | ${Math.round(seconds)} |`;
  const seconds = results.reduce((sum, result) => sum + result.seconds, 0);
  const list = (title, names) =>
    names.length > 0 ? ['', `## ${title}`, '', ...names.map((name) => `- ${name}`)] : [];
  return [
    '# The last full test run',
    '',
    'Written by `npm run test:full -- --record`.',
    '',
    `- Date: ${date}`,
    `- Commit: ${commit}${changed ? ' and uncommitted changes' : ''}`,
    `- Node ${node}, ${cpu}`,
    '',
    '| project | passed | failed | skipped | seconds |',
    '|---|---|---|---|---|',
    ...results.map((result) => row(result.project, result, result.seconds)),
    row('all', totalOf(results), seconds),
    ...list(
      'Failed',
      results.flatMap(({ failures }) => failures),
    ),
    ...list(
      'Skipped',
      results.flatMap(({ skips }) => skips),
    ),
    '',
  ].join('\n');
}

const PROCESSOR = 'packages/backend-emu/src';

/** The tests of the emulated processor, with its code translated as `jit` says. */
function processorTests(jit, rest) {
  const environment = { CLOISTER_JIT: jit, CLOISTER_FULL: '0' };
  const results = runProjects(['unit', 'long'], { rest: [PROCESSOR, ...rest], environment });
  const name = ({ project }) => `processor, translation ${jit}: ${project}`;
  return results.map((result) => ({ ...result, project: name(result) }));
}

function main(args) {
  // Before the run: what is tested is the tree as it was then.
  const commit = git('rev-parse', 'HEAD');
  const changed = git('status', '--porcelain') !== '';
  const rest = args.filter((arg) => arg !== '--record');
  const results = [
    ...runProjects(['unit', 'long', 'integration'], { full: true, rest }),
    ...['off', 'stress'].flatMap((jit) => processorTests(jit, rest)),
  ];
  const total = totalOf(results);
  if (args.includes('--record')) {
    const date = new Date().toISOString().slice(0, 10);
    const cpu = `${cpus().length} x ${cpus()[0]?.model}`;
    const text = page({ date, commit, changed, node: process.version, cpu, results });
    writeFileSync(join(root, 'docs', 'test-full.md'), text);
  }
  for (const { failures } of results) {
    for (const failure of failures) process.stdout.write(`failed: ${failure}\n`);
  }
  process.stdout.write(`${summaryLine(total)}\n`);
  process.exitCode = total.failed > 0 ? 1 : 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main(process.argv.slice(2));
