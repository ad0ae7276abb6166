// The rows that Cloister promises for SEV, SEV-ES and SNP, and which tests cover them. What covers
// a row is read from the tests themselves: a test covers the rows that its title, or a title
// around it, names.
//
//   npm run rows                    runs the test files that name rows; what became of each row
//   npm run rows -- --list          reads the titles only, and runs nothing
//   npm run rows -- --project unit  the files of one project only
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';
import { filesUnder, readJson, root } from '../lib/workspace.mjs';

export const ROWS = readJson(join(root, 'tools', 'rows', 'rows.json'));

const ROW = /\b(?:PSP|KVM|SEV|ES|SNP|FW)-\d{2}\b/g;

/** The rows that a title names, each once. */
export const rowsIn = (title) => [...new Set(title.match(ROW) ?? [])];

/** Titles of the suites and tests in a source text, e.g. `describe.skipIf(x)('title', …)`. */
export function titlesIn(source) {
  const file = ts.createSourceFile('test.ts', source, ts.ScriptTarget.ES2022, true);
  const titles = [];
  const visit = (node) => {
    if (ts.isCallExpression(node) && isTestCall(node.expression)) {
      const [title] = node.arguments;
      if (title !== undefined && isText(title)) titles.push(title.getText(file));
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return titles;
}

const isText = (node) => ts.isStringLiteralLike(node) || ts.isTemplateExpression(node);

/** `test`, `test.each(…)`, `describe.skipIf(…)` and so on. */
function isTestCall(callee) {
  if (ts.isIdentifier(callee)) return ['describe', 'test', 'it'].includes(callee.text);
  if (ts.isCallExpression(callee)) return isTestCall(callee.expression);
  return ts.isPropertyAccessExpression(callee) && isTestCall(callee.expression);
}

/** Test files that name rows, by row: {'PSP-01': ['packages/…']}. */
export function filesByRow() {
  const found = {};
  const folders = ['packages', 'tests', 'tools', 'examples'].map((name) => join(root, name));
  for (const path of folders.flatMap((folder) => filesUnder(folder))) {
    if (!path.endsWith('.test.ts') || path.endsWith('rows.test.ts')) continue;
    if (/\/(node_modules|dist)\//.test(path)) continue;
    const text = readFileSync(path, 'utf8');
    // Parsing takes a while, and most files name none.
    const titles = rowsIn(text).length === 0 ? [] : titlesIn(text);
    for (const row of new Set(titles.flatMap(rowsIn))) {
      found[row] ??= [];
      found[row].push(relative(root, path));
    }
  }
  return found;
}

/** Counts tests by row and outcome in a report of vitest's. */
export function outcomes(report) {
  const rows = {};
  for (const file of report.testResults) {
    for (const { fullName, status } of file.assertionResults) {
      const outcome = ['passed', 'failed'].includes(status) ? status : 'skipped';
      for (const row of rowsIn(fullName)) {
        rows[row] ??= { passed: 0, failed: 0, skipped: 0 };
        rows[row][outcome] += 1;
      }
    }
  }
  return rows;
}

/** What is run at once, by vitest's names: long tests along with the others beside the code. */
const PROJECTS = { unit: ['unit', 'long'], integration: ['integration'] };

/** What became of a row: a failure counts more than a pass, and that more than a skip. */
export function verdict(counts) {
  if (counts === undefined) return 'none';
  if (counts.failed > 0) return 'fail';
  return counts.passed > 0 ? 'pass' : 'skip';
}

function run(files, project) {
  const folder = mkdtempSync(join(tmpdir(), 'cloister-rows-'));
  const output = join(folder, 'report.json');
  try {
    const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
    const reporter = ['--reporter=json', `--outputFile=${output}`];
    const chosen = PROJECTS[project].flatMap((name) => ['--project', name]);
    spawnSync(process.execPath, [vitest, 'run', ...chosen, ...reporter, ...files], {
      cwd: root,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    return outcomes(JSON.parse(readFileSync(output, 'utf8')));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const projectOf = (file) => (file.startsWith('tests/') ? 'integration' : 'unit');

function print(statusOf, detailOf) {
  const totals = {};
  for (const { id, title } of ROWS) {
    const status = statusOf(id);
    totals[status] = (totals[status] ?? 0) + 1;
    process.stdout.write(`${id.padEnd(7)} ${status.padEnd(5)} ${title}${detailOf(id)}\n`);
  }
  const sums = Object.entries(totals).map(([status, count]) => `${count} ${status}`);
  process.stdout.write(`${ROWS.length} rows: ${sums.join(', ')}\n`);
}

function main(args) {
  const files = filesByRow();
  if (args.includes('--list')) {
    const shown = (id) => (files[id] ?? []).map((file) => `\n${' '.repeat(14)}${file}`).join('');
    print((id) => (files[id] === undefined ? 'none' : 'named'), shown);
    return;
  }
  const only = args.includes('--project') ? args[args.indexOf('--project') + 1] : undefined;
  const all = [...new Set(Object.values(files).flat())];
  const results = {};
  for (const project of Object.keys(PROJECTS)) {
    const own = all.filter((file) => projectOf(file) === project);
    if (own.length === 0 || (only !== undefined && only !== project)) continue;
    process.stderr.write(`rows: running ${own.length} files of ${project}\n`);
    for (const [row, counts] of Object.entries(run(own, project))) {
      results[row] ??= { passed: 0, failed: 0, skipped: 0 };
      for (const outcome of Object.keys(counts)) results[row][outcome] += counts[outcome];
    }
  }
  print(
    (id) => verdict(results[id]),
    (id) => {
      const { passed, failed, skipped } = results[id] ?? { passed: 0, failed: 0, skipped: 0 };
      const parts = [
        [passed, 'passed'],
        [failed, 'failed'],
        [skipped, 'skipped'],
      ].filter(([count]) => count > 0);
      return parts.length === 0 ? '' : ` (${parts.map((part) => part.join(' ')).join(', ')})`;
    },
  );
  process.exitCode = Object.values(results).some(({ failed }) => failed > 0) ? 1 : 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main(process.argv.slice(2));
