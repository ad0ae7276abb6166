// The import rules themselves: what the table must refuse and what it must let pass.
import { expect, test } from 'vitest';
import { checkImports, importsOf, problemWith } from './check-imports.mjs';

const manifest = { dependencies: { rxjs: '*', tsyringe: '*' }, peerDependencies: {} };
const core = 'packages/core/src';
const emu = 'packages/backend-emu/src';

const refused: [file: string, specifier: string][] = [
  [`${core}/machine/vm.ts`, '@cloister/backend-emu'],
  [`${core}/machine/vm.ts`, 'node:fs'],
  [`${core}/machine/vm.ts`, 'lodash'],
  [`${core}/machine/vm.ts`, './router'],
  [`${core}/machine/vm.ts`, '../../../cli/src/main.js'],
  [`${core}/interfaces/exit.ts`, '../machine/vm.js'],
  [`${core}/interfaces/exit.ts`, 'tsyringe'],
  ['packages/sev/src/psp.ts', '@cloister/backend-emu'],
  ['packages/backend-kvm/src/vm.ts', '@cloister/sev'],
  [`${emu}/isa/alu.ts`, '../interp/loop.js'],
  [`${emu}/isa/alu.ts`, '../jit/region.js'],
  [`${emu}/wasm/emit.ts`, '../isa/alu.js'],
  ['examples/plugin/index.ts', '../../packages/core/src/index.js'],
  ['examples/plugin/index.ts', '@cloister/core/src/index.js'],
];

const allowed: [file: string, specifier: string][] = [
  [`${core}/machine/vm.ts`, '../interfaces/exit.js'],
  [`${core}/machine/vm.ts`, 'tsyringe'],
  [`${core}/machine/vm.test.ts`, 'node:fs'],
  [`${core}/interfaces/events.ts`, 'rxjs'],
  [`${emu}/interp/loop.ts`, '../isa/alu.js'],
  [`${emu}/isa/alu.test.ts`, '../interp/loop.js'],
  ['examples/plugin/index.ts', '@cloister/core/testing'],
  ['examples/plugin/index.ts', 'node:fs'],
];

test.each(refused)('%s may not import %s', (file, specifier) => {
  expect(problemWith(file, { specifier }, manifest)).toBeTypeOf('string');
});

test.each(allowed)('%s may import %s', (file, specifier) => {
  expect(problemWith(file, { specifier }, manifest)).toBeUndefined();
});

test('finds every form of import, and none in comments', () => {
  const text = [
    "// import 'a';",
    "import { x } from './b.js';",
    "/* import 'c'; */",
    "export * from './d.js';",
    "import type {\n  Y,\n} from './e.js';",
    "import './f.js';",
    "const g = await import('./g.js');",
  ].join('\n');
  expect(importsOf(text).map(({ specifier, line }) => [specifier, line])).toEqual([
    ['./b.js', 2],
    ['./d.js', 4],
    ['./e.js', 5],
    ['./f.js', 8],
    ['./g.js', 9],
  ]);
});

test('the tree keeps the rules', () => {
  expect(checkImports()).toEqual([]);
});
