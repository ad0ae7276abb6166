/**
 * The committed coverage table is that of the instruction table, and what it is made from is right:
 * every instruction has a form in it, and watching a program does not change what it does.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { MODE_16, MODE_32, MODE_64 } from '../../packages/backend-emu/src/cpu/mode.js';
import { Decoder } from '../../packages/backend-emu/src/decode/decoder.js';
import '../../packages/backend-emu/src/isa/index.js';
import { CORPUS } from '../../packages/core/src/testing/index.js';
import { ByteStrings, STRING_SIZE } from '../decoder-oracle/byte-strings.js';
import { executedByPrograms } from './collect.js';
import { type Executed, renderCoverage } from './render.js';
import { TableForms } from './table-forms.js';

const text = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');
const table = new TableForms();
const executed = JSON.parse(text('./executed.json')) as Executed;

describe('docs/instruction-coverage.md', () => {
  it('is what `npm run coverage-table` makes of the instruction table and what executed', () => {
    expect(text('../../docs/instruction-coverage.md')).toBe(renderCoverage(table, executed));
  });

  it('names executed forms that there are', () => {
    const unknown = [...executed.programs, ...executed.boot].filter(
      (form) => !table.forms.has(form),
    );
    expect(unknown).toEqual([]);
  });
});

describe('the forms of the table', () => {
  it('have one for every instruction but NOP and PAUSE, which are in no map', () => {
    const decoder = new Decoder();
    const strings = new ByteStrings(1);
    const bytes = new Uint8Array(STRING_SIZE);
    const without = new Set<string>();
    for (let i = 0; i < 5000; i++) {
      strings.write(bytes, 0);
      for (const mode of [MODE_16, MODE_32, MODE_64]) {
        decoder.decode(bytes, 0, STRING_SIZE, mode);
        const { info } = decoder.out;
        if (table.of(decoder.out) === null) without.add(info.key);
      }
    }
    expect([...without].filter((key) => !/^(UD|TOOLONG|NOP|PAUSE)\./.test(key))).toEqual([]);
  });

  it('are seen to execute in a program, and not those behind a branch that is taken', async () => {
    const [program] = CORPUS.filter(({ name }) => name === 'mode-switch');
    const seen = await executedByPrograms(table, [program]);
    expect(seen).toContain('MOVTOCR Cn,Rn (0f 22) 32');
    expect(seen).toContain('JMPF Ap (ea) 16');
    expect(seen).not.toContain('CPUID (0f a2) 32');
  });
});
