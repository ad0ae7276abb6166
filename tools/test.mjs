// Runs vitest projects one after the other and adds up their results; the last line printed is
// `N passed, N failed, N skipped` over all of them.
//
//   node tools/test.mjs [project…] [-- vitest arguments]
//
// CLOISTER_CI=1       a skipped test whose name contains "vectors" counts as failed
// CLOISTER_SUMMARY=F  also write the summary to F as JSON
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { readJson, root } from './lib/workspace.mjs';

/** Counts one vitest JSON report. A file that could not be loaded counts as one failed test. */
export function countReport(report) {
  const summary = { passed: 0, failed: 0, skipped: 0, failures: [], skips: [] };
  for (const file of report.testResults) {
    const where = relative(root, file.name);
    if (file.status === 'failed' && file.assertionResults.length === 0) {
      summary.failed += 1;
      summary.failures.push(`${where}: ${firstLine(file.message)}`);
    }
    for (const { status, fullName } of file.assertionResults) {
      if (status === 'passed') summary.passed += 1;
      else if (status === 'failed') {
        summary.failed += 1;
        summary.failures.push(`${where}: ${fullName}`);
      } else {
        summary.skipped += 1;
        summary.skips.push(`${where}: ${fullName}`);
      }
    }
  }
  return summary;
}

const firstLine = (text) => String(text ?? '').split('\n')[0];

/** A skipped test that needs the test vectors is a failure where the vectors must be present. */
export function refuseSkippedVectors(summary) {
  const refused = summary.skips.filter((name) => /vectors/i.test(name));
  return {
    ...summary,
    failed: summary.failed + refused.length,
    skipped: summary.skipped - refused.length,
    failures: [...summary.failures, ...refused.map((name) => `${name} (skipped)`)],
  };
}

function runProject(project, { full, rest, environment, reportPath }) {
  const started = performance.now();
  const { status } = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules', 'vitest', 'vitest.mjs'),
      ...['run', '--project', project, '--passWithNoTests'],
      ...['--reporter=default', '--reporter=json', `--outputFile.json=${reportPath}`],
      ...rest,
    ],
    {
      cwd: root,
      stdio: 'inherit',
      env: { ...process.env, ...(full ? { CLOISTER_FULL: '1' } : {}), ...environment },
    },
  );
  const summary = readSummary(reportPath);
  // Errors outside any test (an unhandled rejection, a crashed worker) show in the status only.
  if (status !== 0 && summary.failed === 0) {
    summary.failed = 1;
    summary.failures.push(`vitest ended with status ${status}`);
  }
  const seconds = Math.round((performance.now() - started) / 100) / 10;
  return {
    project,
    seconds,
    ...(process.env.CLOISTER_CI ? refuseSkippedVectors(summary) : summary),
  };
}

function readSummary(reportPath) {
  try {
    return countReport(readJson(reportPath));
  } catch {
    const failures = ['vitest wrote no report'];
    return { passed: 0, failed: 1, skipped: 0, failures, skips: [] };
  }
}

/** Runs projects with further arguments of vitest's and variables of the environment. */
export function runProjects(projects, { full = false, rest = [], environment = {} } = {}) {
  const temporary = mkdtempSync(join(tmpdir(), 'cloister-test-'));
  try {
    return projects.map((project) => {
      const reportPath = join(temporary, `${project}.json`);
      return runProject(project, { full, rest, environment, reportPath });
    });
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

export function totalOf(results) {
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  return { passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') };
}

export const summaryLine = ({ passed, failed, skipped }) =>
  `${passed} passed, ${failed} failed, ${skipped} skipped`;

function main(args) {
  const split = args.indexOf('--');
  const own = split < 0 ? args : args.slice(0, split);
  const projects = own.filter((arg) => !arg.startsWith('-'));
  const results = runProjects(projects.length > 0 ? projects : ['unit'], {
    rest: [
      ...own.filter((arg) => arg.startsWith('-')),
      ...(split < 0 ? [] : args.slice(split + 1)),
    ],
  });
  for (const { failures } of results) {
    for (const failure of failures) process.stdout.write(`failed: ${failure}\n`);
  }
  const total = totalOf(results);
  if (process.env.CLOISTER_SUMMARY) {
    writeFileSync(process.env.CLOISTER_SUMMARY, JSON.stringify({ ...total, results }, null, 2));
  }
  process.stdout.write(`${summaryLine(total)}\n`);
  process.exitCode = total.failed > 0 ? 1 : 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main(process.argv.slice(2));
