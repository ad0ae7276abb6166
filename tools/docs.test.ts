// The documentation: links lead somewhere, examples are correct TypeScript, and every promise of
// the specification names tests that exist.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { filesUnder, root } from './lib/workspace.mjs';

const read = (path: string) => readFileSync(path, 'utf8');

const pages: readonly string[] = [
  ...['README.md', 'CONTRIBUTING.md', 'SECURITY.md'].map((name) => join(root, name)),
  ...filesUnder(join(root, 'docs')),
  ...filesUnder(join(root, 'examples')),
].filter((path) => path.endsWith('.md') && !path.includes('node_modules'));

const nameOf = (path: string) => relative(root, path);

describe('links', () => {
  test.each(pages.map(nameOf))('of %s lead to files that exist', (name) => {
    const page = join(root, name);
    const targets = [...read(page).matchAll(/\]\(([^)#\s]+)(#[^)]*)?\)/g)].map(
      (match) => match[1]!,
    );
    const local = targets.filter((target) => !/^[a-z]+:/.test(target));
    expect(local.filter((target) => !existsSync(resolve(dirname(page), target)))).toEqual([]);
  });

  test('every page of docs/ can be reached from docs/README.md', () => {
    const index = read(join(root, 'docs/README.md'));
    const missing = filesUnder(join(root, 'docs'))
      .map((path) => relative(join(root, 'docs'), path))
      .filter((path) => path.endsWith('.md') && path !== 'README.md')
      // How the suites are run is for contributors; CONTRIBUTING.md speaks of it.
      .filter((path) => path !== 'test-full.md' && !index.includes(`(${path})`));
    expect(missing).toEqual([]);
  });
});

/** The TypeScript examples of all pages, by the path at which the compiler finds them. */
function examples(): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const page of pages) {
    const blocks = [...read(page).matchAll(/^```ts\n([\s\S]*?)^```$/gm)];
    blocks.forEach(([, code], index) => {
      found.set(join(root, `${nameOf(page).replace(/\W/g, '-')}-${index + 1}.ts`), code!);
    });
  }
  return found;
}

/** What the compiler says of `sources`, with the settings of the repository. */
function diagnose(sources: ReadonlyMap<string, string>): string[] {
  const config = ts.getParsedCommandLineOfConfigFile(
    join(root, 'tsconfig.dev.json'),
    {},
    {
      ...ts.sys,
      onUnRecoverableConfigFileDiagnostic: (problem) => {
        throw new Error(ts.flattenDiagnosticMessageText(problem.messageText, '\n'));
      },
    },
  )!;
  const host = ts.createCompilerHost(config.options);
  const { readFile, fileExists, getSourceFile } = host;
  host.readFile = (path) => sources.get(path) ?? readFile(path);
  host.fileExists = (path) => sources.has(path) || fileExists(path);
  host.getSourceFile = (path, options, ...rest) => {
    const text = sources.get(path);
    return text === undefined
      ? getSourceFile(path, options, ...rest)
      : ts.createSourceFile(path, text, options);
  };
  const program = ts.createProgram([...sources.keys()], config.options, host);
  return [...sources.keys()].flatMap((path) => {
    const file = program.getSourceFile(path)!;
    const found = [
      ...program.getSyntacticDiagnostics(file),
      ...program.getSemanticDiagnostics(file),
    ];
    return found.map(({ start = 0, messageText }) => {
      const { line } = file.getLineAndCharacterOfPosition(start);
      const message = ts.flattenDiagnosticMessageText(messageText, '\n');
      return `${nameOf(path)}:${line + 1} ${message}`;
    });
  });
}

describe('examples', () => {
  test('are correct TypeScript, unlike the one that is wrong', { timeout: 120_000 }, () => {
    const sources = examples();
    expect(sources.size).toBeGreaterThanOrEqual(11);
    const wrong = "import { parseSize } from '@cloister/core';\nexport const a: 1 = parseSize;\n";
    const problems = diagnose(new Map([...sources, [join(root, 'wrong.ts'), wrong]]));
    expect(problems).toEqual([expect.stringMatching(/^wrong\.ts:2 Type /)]);
  });
});

test('the processor’s page quotes a description as it is', () => {
  const quoted = /^```js\n([\s\S]*?)^```$/m.exec(read(join(root, 'docs/emulated-processor.md')));
  const source = read(join(root, 'packages/backend-emu/src/isa/semantics/alu.ts'));
  expect(source).toContain(quoted![1]);
});

describe('SPECIFICATION.md', () => {
  const rows = read(join(root, 'docs/SPECIFICATION.md'))
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| promise'))
    .map((line) => line.split('|').map((cell) => cell.trim()));

  test('has promises', () => {
    expect(rows.length).toBeGreaterThan(40);
  });

  test.each(rows.map((cells) => ({ promise: cells[1]!, tests: cells[2]! })))(
    '$promise: its tests exist',
    ({ tests }) => {
      const files = [...tests.matchAll(/`([^`]+)`/g)].map((match) => match[1]!);
      expect(files.length).toBeGreaterThan(0);
      for (const file of files) {
        expect(file).toMatch(/\.test\.ts$/);
        expect(existsSync(join(root, file)), file).toBe(true);
      }
    },
  );
});
