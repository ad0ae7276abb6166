/**
 * Intercepts and instructions of an extension that is nobody's in particular: each event with each
 * verdict, interpreted and translated.
 */
import {
  type CpuExtension,
  INTERCEPTS,
  type InterceptDetail,
  type InterceptName,
  type InterceptVerdict,
} from '@cloister/core';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';

interface Case {
  readonly event: InterceptName;
  readonly code: string;
  readonly detail?: Partial<InterceptDetail>;
  /** General registers before, by encoding. */
  readonly gpr?: Readonly<Record<number, number>>;
}

const CASES: readonly Case[] = [
  { event: 'cpuid', code: '0f a2' },
  { event: 'rdtsc', code: '0f 31' },
  { event: 'rdtscp', code: '0f 01 f9' },
  { event: 'rdpmc', code: '0f 33' },
  { event: 'io', code: 'e4 60', detail: { number: 0x60, size: 1, lo: 0xff } },
  {
    event: 'io',
    code: 'ef',
    gpr: { 0: 0x12345678, 2: 0xcf8 },
    detail: { direction: 'write', number: 0xcf8, size: 4, lo: 0x12345678 },
  },
  {
    event: 'io',
    code: 'f3 64 66 6f',
    gpr: { 1: 3, 2: 0x1f0, 6: AT.stack },
    detail: {
      ...{ direction: 'write', number: 0x1f0, size: 2, string: true, repeated: true },
      ...{ addressSize: 8, segment: L.SEG.fs },
    },
  },
  {
    event: 'io',
    code: '67 6c',
    gpr: { 2: 0x1f0, 7: AT.stack },
    detail: { number: 0x1f0, size: 1, string: true, addressSize: 4, segment: L.SEG.es },
  },
  { event: 'msr', code: '0f 32', gpr: { 1: 0x1b }, detail: { number: 0x1b } },
  {
    event: 'msr',
    code: '0f 30',
    gpr: { 0: 5, 1: 0xc0000103, 2: 6 },
    detail: { direction: 'write', number: 0xc0000103, lo: 5, hi: 6 },
  },
  { event: 'dr', code: '41 0f 21 f9', detail: { number: 7, register: 9 } },
  {
    event: 'dr',
    code: '0f 23 e3',
    gpr: { 3: 0xffff0ff0 },
    detail: { direction: 'write', number: 6, register: 3, lo: 0xffff0ff0 },
  },
  { event: 'hlt', code: 'f4' },
  { event: 'pause', code: 'f3 90' },
  { event: 'wbinvd', code: '0f 09' },
  { event: 'invd', code: '0f 08' },
  { event: 'monitor', code: '0f 01 c8' },
  { event: 'mwait', code: '0f 01 c9' },
  { event: 'vmmcall', code: '0f 01 d9' },
  { event: 'xsetbv', code: '0f 01 d1', gpr: { 0: 3 } },
  { event: 'iret', code: '48 cf' },
];

const RESUME: InterceptVerdict = { kind: 'resume' };
const NOTHING: InterceptDetail = {
  ...{ length: 0, direction: 'read', number: 0, lo: 0, hi: 0, size: 0 },
  ...{ string: false, repeated: false, addressSize: 0, segment: 0, register: 0 },
};

/** What an extension sees, with one answer to all of it. */
class Witness implements CpuExtension {
  readonly name = 'witness';
  readonly intercepts = INTERCEPTS;
  readonly seen: [InterceptName, InterceptDetail][] = [];
  on: ReadonlySet<InterceptName> = new Set(INTERCEPTS);

  constructor(readonly verdict: InterceptVerdict) {}

  enter: NonNullable<CpuExtension['enter']> = (vcpu) => {
    vcpu.setIntercepts(this.on);
    return null;
  };

  intercept: NonNullable<CpuExtension['intercept']> = (event, _vcpu, detail) => {
    this.seen.push([event, { ...detail }]);
    return this.verdict;
  };
}

function bytesOf(code: string): number {
  return code.split(' ').length;
}

function prepare({ code, gpr = {} }: Case, t: TestComputer): TestComputer {
  t.longMode();
  for (const vector of [1, 2, 6, 13, 14, 29]) t.longGate(vector);
  t.record.setI32(L.CR4, t.record.i32(L.CR4) | (1 << 18));
  for (const [number, value] of Object.entries(gpr)) {
    t.record.setPair(L.gprOffset(Number(number)), value | 0, 0);
  }
  return t.load(AT.code, `${code} 90 90`).load(AT.handlers, '90 '.repeat(512));
}

const MODES = ['off', 'stress'] as const;

describe.each(MODES)('with translation %s', (jit) => {
  const computer = (each: Case, extension?: CpuExtension) =>
    prepare(each, new TestComputer('', jit, extension === undefined ? [] : [extension]));

  describe.each(CASES)('$event ($code)', (each) => {
    const { event, code, detail = {} } = each;

    it('is told with its detail, and resumed behind it', () => {
      const witness = new Witness(RESUME);
      const t = computer(each, witness);
      t.run(1);
      expect(witness.seen).toEqual([[event, { ...NOTHING, length: bytesOf(code), ...detail }]]);
      expect([t.rip, t.vcpu.executed, t.exits]).toEqual([AT.code + bytesOf(code), 1, []]);
      t.run(1);
      expect(t.rip).toBe(AT.code + bytesOf(code) + 1);
    });

    it('makes an exception of the extension’s own in its place', () => {
      const exception = { vector: 29, errorCode: 0x7b };
      const t = computer(each, new Witness({ kind: 'exception', exception }));
      t.run(1);
      expect([t.rip, t.exits]).toEqual([AT.handlers + 29 * 16, []]);
      const rsp = Number(t.record.u64(L.gprOffset(4)));
      expect([t.u64(rsp), t.u64(rsp + 8)]).toEqual([0x7bn, BigInt(AT.code)]);
    });

    it('is as without the extension when that lets it pass or does not ask', () => {
      const plain = computer(each);
      plain.run(3);
      for (const on of [INTERCEPTS, []]) {
        const witness = new Witness({ kind: 'proceed' });
        witness.on = new Set(on);
        const t = computer(each, witness);
        t.run(3);
        expect(t.cpu.readState()).toEqual(plain.cpu.readState());
        expect(t.exits).toEqual(plain.exits);
        expect(t.vcpu.executed).toBe(plain.vcpu.executed);
      }
    });
  });

  it('gives reads that are answered the value of the detail', () => {
    const answering: CpuExtension = {
      ...new Witness(RESUME),
      intercept: (_event, _vcpu, detail) => {
        [detail.lo, detail.hi] = [0x12345678, 0x9abcdef0];
        return RESUME;
      },
    };
    const t = computer({ event: 'io', code: 'e5 60 41 0f 21 f9' }, answering);
    t.run(2);
    expect(t.record.u64(L.gprOffset(0))).toBe(0x12345678n);
    expect(t.record.u64(L.gprOffset(9))).toBe(0x9abcdef012345678n);
  });

  it('tells of control registers after they were written', () => {
    const witness = new Witness({ kind: 'proceed' });
    witness.on = new Set(['cr-write-after']);
    // mov cr8, rax; mov cr4, rbx; clts; mov cr0, rcx; wrmsr EFER; mov cr3, rdi
    const code = '44 0f 22 c0 0f 22 e3 0f 06 0f 22 c1 b9 80 00 00 c0 b8 01 0d 00 00 31 d2 0f 30';
    const t = computer({ event: 'cr-write-after', code: `${code} 0f 22 df` }, witness);
    t.record.setPair(L.gprOffset(0), 3, 0);
    t.record.setPair(L.gprOffset(3), 0x406a0, 0);
    t.record.setPair(L.gprOffset(1), 0x80010033 | 0, 0);
    t.record.setPair(L.gprOffset(7), AT.tables, 0);
    t.run(9);
    const told = witness.seen.map(([, { number, lo, length }]) => [number, lo, length]);
    expect(told).toEqual([
      [8, 3, 4],
      [4, 0x406a0, 3],
      [0, 0x80010033, 2],
      [0, 0x80010033, 3],
      [0xc0000080, 0xd01, 2],
    ]);
    expect([t.rip, t.vcpu.executed]).toEqual([AT.code + bytesOf(code) + 3, 9]);
  });

  it('has privilege checked before the extension is asked', () => {
    const witness = new Witness(RESUME);
    for (const code of ['f4', '0f 32', '0f 30', '0f 09', '0f 21 f8', 'ec', '0f 01 d1']) {
      const t = computer({ event: 'hlt', code }, witness);
      t.userMode();
      t.run(1);
      expect(t.rip, code).toBe(AT.handlers + 13 * 16);
    }
    expect(witness.seen).toEqual([]);
  });

  it('leaves what a triple fault comes to, to the extension', () => {
    const stopping: CpuExtension = {
      ...new Witness(RESUME),
      intercept: (event, vcpu) => {
        if (event === 'shutdown') vcpu.stop('error');
        return RESUME;
      },
    };
    const broken = (extension?: CpuExtension) => {
      const t = computer({ event: 'shutdown', code: '0f 0b' }, extension);
      t.record.setI32(L.IDTR + 8, 0);
      return t;
    };
    expect(broken(stopping).run(5)).toBe('error');
    const [plain, told] = [broken(), broken(new Witness(RESUME))];
    expect([plain.run(5), told.run(5)]).toEqual(['shutdown', 'shutdown']);
    expect(told.exits).toEqual(plain.exits);
  });

  it('executes instructions that an extension names, as VMGEXIT and its kin', () => {
    const codes = {
      VMGEXIT: ['f3 0f 01 d9', 'f2 0f 01 d9'],
      PVALIDATE: ['f2 0f 01 ff'],
      PSMASH: ['f3 0f 01 ff'],
      RMPADJUST: ['f3 0f 01 fe'],
      RMPUPDATE: ['f2 0f 01 fe'],
      RMPQUERY: ['f3 0f 01 fd'],
      TDCALL: ['66 0f 01 cc'],
      SEAMCALL: ['66 0f 01 cf'],
    };
    const seen: string[] = [];
    const extension: CpuExtension = {
      name: 'instructions',
      instructions: Object.keys(codes),
      execute: (mnemonic, vcpu, { length }) => {
        seen.push(`${mnemonic} ${length}`);
        vcpu.gpr[0] = 7;
        return mnemonic === 'PSMASH' ? { kind: 'proceed' } : RESUME;
      },
    };
    for (const [mnemonic, encodings] of Object.entries(codes)) {
      for (const code of encodings) {
        const each: Case = { event: 'hlt', code };
        const t = computer(each, extension);
        t.run(1);
        expect(seen.splice(0)).toEqual([`${mnemonic} ${bytesOf(code)}`]);
        expect(t.record.u64(L.gprOffset(0))).toBe(7n);
        const refused = mnemonic === 'PSMASH';
        expect(t.rip).toBe(refused ? AT.handlers + 6 * 16 : AT.code + bytesOf(code));
        const plain = computer(each);
        plain.run(1);
        const isCall = mnemonic === 'VMGEXIT';
        expect(plain.rip, code).toBe(isCall ? AT.code + bytesOf(code) : AT.handlers + 6 * 16);
        expect(plain.exits.map(({ kind }) => kind)).toEqual(isCall ? ['hypercall'] : []);
      }
    }
  });
});

it('refuses intercepts that the extension does not list', () => {
  const extension: CpuExtension = {
    name: 'narrow',
    intercepts: ['hlt'],
    intercept: () => RESUME,
    enter: (vcpu) => {
      vcpu.setIntercepts(new Set(['cpuid']));
      return null;
    },
  };
  const t = prepare(CASES[0]!, new TestComputer('', 'off', [extension]));
  expect(() => t.run(1)).toThrow('the extension does not list intercept cpuid');
});
