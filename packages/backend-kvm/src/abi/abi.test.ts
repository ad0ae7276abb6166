/**
 * Every struct, ioctl number and constant of the tables against the kernel's own headers, compiled
 * here: sizeof, offsetof, values.
 */
import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { TABLES } from './constants.js';
import { KVM } from './ioctls.js';
import { askHeaders, type Question, whyNoHeaders } from './kernel-headers.js';
import * as linux from './linux.js';
import { offsetOf, type Struct, StructView, struct } from './struct.js';
import { EXIT_UNION, EXITS, NAMED } from './structs.js';

/** Newer headers than the system's, to compare what those do not have yet. */
const newer = process.env.CLOISTER_KERNEL_HEADERS;

/** Fields that C names otherwise, in a union without a name or not at all. */
const ALIAS: Readonly<Record<string, string | null>> = {
  'kvm_irqchip.chip': 'chip.dummy',
  'kvm_run.padding': null,
  'kvm_run.s': 's.regs',
  'sigevent.tid': '_sigev_un._tid',
};

/** Structs that came after Linux 6.1, and a macro that came with them. */
const NEWER: Readonly<Record<string, string>> = {
  kvm_memory_attributes: 'KVM_MEMORY_ATTRIBUTE_PRIVATE',
  memory_fault: 'KVM_EXIT_MEMORY_FAULT',
};

interface Row extends Question {
  readonly ours: bigint;
}

function fieldRows(type: Struct, cType: string, base: number): Row[] {
  const needs = NEWER[type.name];
  return type.fields.flatMap(({ name, offset }) => {
    const alias = ALIAS[`${type.name}.${name}`];
    if (alias === null) return [];
    const expression = `offsetof(${cType}, ${alias ?? name})`;
    return [{ expression, ours: BigInt(base + offset), ...(needs && { needs }) }];
  });
}

function structRows(type: Struct): Row[] {
  const needs = NEWER[type.name];
  const c = `struct ${type.name}`;
  const size = { expression: `sizeof(${c})`, ours: BigInt(type.size), ...(needs && { needs }) };
  return [size, ...fieldRows(type, c, 0)];
}

function exitRows(type: Struct): Row[] {
  const renamed = { ...type, name: type.name };
  return fieldRows(renamed, 'struct kvm_run', EXIT_UNION).map((row) => ({
    ...row,
    expression: row.expression.replace(', ', `, ${type.name}.`),
  }));
}

function macroRows(): Row[] {
  const rows: Row[] = [];
  for (const [prefix, table] of TABLES) {
    for (const [name, value] of Object.entries(table)) {
      rows.push({ expression: prefix + name, needs: prefix + name, ours: BigInt(value) });
    }
  }
  for (const [name, value] of Object.entries(KVM)) {
    rows.push({ expression: `KVM_${name}`, needs: `KVM_${name}`, ours: BigInt(value) });
  }
  for (const [name, value] of Object.entries(linux.NR)) {
    rows.push({ expression: `__NR_${name}`, ours: BigInt(value) });
  }
  for (const [name, value] of Object.entries(linux)) {
    const known = typeof value === 'number' && !/^(EFD|CLOCK)_/.test(name);
    if (known) rows.push({ expression: `(unsigned)${name}`, ours: BigInt(value >>> 0) });
  }
  for (const [name, value] of Object.entries(linux.ERRNO)) {
    rows.push({ expression: name, ours: BigInt(value) });
  }
  return rows;
}

const linuxStructs = [linux.TIMESPEC, linux.ITIMERSPEC, linux.SIGINFO, linux.SIGEVENT];

function everything(): Row[] {
  return [
    ...[...NAMED, ...linuxStructs].flatMap(structRows),
    ...EXITS.flatMap(exitRows),
    ...macroRows(),
  ];
}

function compare(include?: string): { absent: string[]; compared: number } {
  const rows = everything();
  const answers = askHeaders(rows, include);
  const absent = rows.filter(({ expression }) => !answers.has(expression));
  const wrong = rows
    .filter(({ expression }) => answers.has(expression))
    .filter(({ expression, ours }) => answers.get(expression) !== ours)
    .map(({ expression, ours }) => `${expression}: ${answers.get(expression)}, here ${ours}`);
  expect(wrong).toEqual([]);
  return { absent: absent.map(({ expression }) => expression), compared: answers.size };
}

const reason = whyNoHeaders();

describe.skipIf(reason !== null)(`the tables equal the headers ${reason ?? ''}`, () => {
  test('of the system, where it has them', () => {
    const { absent, compared } = compare();
    // What Linux 6.1 does not have is all that may be missing.
    const late = /MEMORY_ATTRIBUTE|memory_attributes|EXIT_MEMORY_FAULT|memory_fault|_VM$|VM_TYPES/;
    expect(absent.filter((expression) => !late.test(expression))).toEqual([]);
    expect(compared).toBeGreaterThan(400);
  });

  test.skipIf(newer === undefined || !existsSync(newer ?? ''))(
    'of Linux 6.12 or newer, named by CLOISTER_KERNEL_HEADERS',
    () => {
      const { absent } = compare(newer);
      // TDX came with Linux 6.16.
      expect(absent.filter((expression) => expression !== 'KVM_X86_TDX_VM')).toEqual([]);
    },
  );
});

describe('structs', () => {
  const inner = struct('inner', { a: 'u8', b: 'u32' });
  const outer = struct('outer', { x: 'u16', y: [inner, 2], z: 'u64', w: 's32' });

  test('are laid out as C does', () => {
    expect(inner.size).toBe(8);
    expect(offsetOf(outer, 'y')).toBe(4);
    expect(offsetOf(outer, 'z')).toBe(24);
    expect(outer.size).toBe(40);
    expect(struct('packed', { a: 'u8', b: 'u32' }, { packed: true }).size).toBe(5);
    expect(() => offsetOf(outer, 'nothing')).toThrow('struct outer has no field nothing');
  });

  test('are read and written by name', () => {
    const nested = struct('nested', { head: 'u32', inner });
    const made = new StructView(nested).set('inner.b', 0xdeadbeef).set('head', -1);
    expect(made.get('inner.b')).toBe(0xdeadbeef);
    expect([...made.bytes.subarray(8)]).toEqual([0xef, 0xbe, 0xad, 0xde]);
    const wide = new StructView(outer).set('z', -2n).set('w', -5).set('x', 0x12345);
    expect(wide.get64('z')).toBe(2n ** 64n - 2n);
    expect(wide.get('w')).toBe(-5);
    expect(wide.get('x')).toBe(0x2345);
    expect(() => wide.get('inner.q')).toThrow('no field');
  });
});
