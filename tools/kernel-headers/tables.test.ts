/**
 * Every struct, ioctl number and constant that a package has of the kernel against the kernel's own
 * headers, compiled here: sizeof, offsetof, values.
 */
import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { TABLES } from '../../packages/backend-kvm/src/abi/constants.js';
import { KVM } from '../../packages/backend-kvm/src/abi/ioctls.js';
import * as linux from '../../packages/backend-kvm/src/abi/linux.js';
import { EXIT_UNION, EXITS, NAMED } from '../../packages/backend-kvm/src/abi/structs.js';
import type { Struct } from '../../packages/core/src/abi/index.js';
import * as sev from '../../packages/sev/src/kvm/index.js';
import { askHeaders, type Question, whyNoHeaders } from './ask-headers.js';

/** Newer headers than the system's, to compare what those do not have yet. */
const newer = process.env.CLOISTER_KERNEL_HEADERS;

/** Fields that C names otherwise, in a union without a name or not at all. */
const ALIAS: Readonly<Record<string, string | null>> = {
  'kvm_irqchip.chip': 'chip.dummy',
  'kvm_run.padding': null,
  'kvm_run.s': 's.regs',
  'sigevent.tid': '_sigev_un._tid',
  'sev_user_data_snp_status.rmp': null,
  'sev_user_data_snp_status.masks': null,
  'sev_user_data_snp_config.masks': null,
};

/** A macro of the headers in which INIT2 and SNP are. */
const WITH_SNP = 'KVM_SEV_SNP_PAGE_TYPE_NORMAL';

/** Structs that came after Linux 6.1, and a macro that came with them. */
const NEWER: Readonly<Record<string, string>> = {
  kvm_memory_attributes: 'KVM_MEMORY_ATTRIBUTE_PRIVATE',
  kvm_userspace_memory_region2: 'KVM_SET_USER_MEMORY_REGION2',
  kvm_create_guest_memfd: 'KVM_CREATE_GUEST_MEMFD',
  memory_fault: 'KVM_EXIT_MEMORY_FAULT',
  ...Object.fromEntries(
    [...sev.SEV_STRUCTS_SINCE_6_10, ...sev.PSP_SNP_STRUCTS].map(({ name }) => [name, WITH_SNP]),
  ),
};

/** Enumerators and macros of SEV by their prefix; `needs` as in `Question`. */
const SEV_TABLES: readonly (readonly [string, Readonly<Record<string, number>>, string?])[] = [
  ['KVM_SEV_', sev.SEV_COMMAND],
  ['KVM_SEV_', sev.SEV_COMMAND_SINCE_6_10, WITH_SNP],
  ['KVM_SEV_SNP_', sev.SNP_LIMIT, WITH_SNP],
  ['KVM_SEV_SNP_PAGE_TYPE_', sev.SNP_PAGE_TYPE, WITH_SNP],
  ['SEV_', sev.PSP_COMMAND],
  ['SNP_', sev.PSP_SNP_COMMAND, WITH_SNP],
  ['SEV_STATUS_FLAGS_', sev.PSP_STATUS_FLAG],
  ['SEV_', { ISSUE_CMD: sev.SEV_ISSUE_CMD }],
];

/** In the names of all that came after Linux 6.1. */
const LATE = [
  ...['memory_attribute', 'memory_fault', 'guest_memfd', 'region2', 'vm_types', '_vm$'],
  ...['snp', 'sev_init2', 'kvm_sev_init\\b'],
];

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
  for (const [prefix, table, needs] of SEV_TABLES) {
    for (const [name, value] of Object.entries(table)) {
      rows.push({ expression: prefix + name, ours: BigInt(value), ...(needs && { needs }) });
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

const sevStructs = [
  ...sev.SEV_STRUCTS,
  ...sev.SEV_STRUCTS_SINCE_6_10,
  ...sev.PSP_STRUCTS,
  ...sev.PSP_SNP_STRUCTS,
];
const { TIMESPEC, ITIMERSPEC, SIGACTION, SIGINFO, SIGEVENT, POLLFD, EPOLL_EVENT } = linux;
const linuxStructs = [TIMESPEC, ITIMERSPEC, SIGACTION, SIGINFO, SIGEVENT, POLLFD, EPOLL_EVENT];

function everything(): Row[] {
  return [
    ...[...NAMED, ...linuxStructs, ...sevStructs].flatMap(structRows),
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

describe.skipIf(reason !== null)(`KVM-01: the tables equal the headers ${reason ?? ''}`, () => {
  test('of the system, where it has them', () => {
    const { absent, compared } = compare();
    // What Linux 6.1 does not have is all that may be missing.
    const late = new RegExp(LATE.join('|'), 'i');
    expect(absent.filter((expression) => !late.test(expression))).toEqual([]);
    expect(compared).toBeGreaterThan(500);
  });

  test.skipIf(newer === undefined || !existsSync(newer ?? ''))(
    `of Linux 6.12 or newer ${newer ?? '(CLOISTER_KERNEL_HEADERS names none)'}`,
    () => {
      const { absent, compared } = compare(newer);
      // TDX came with Linux 6.16.
      expect(absent.filter((expression) => expression !== 'KVM_X86_TDX_VM')).toEqual([]);
      expect(compared).toBeGreaterThan(600);
    },
  );
});
