/** System instructions in whole programs: control and debug registers, system calls, I/O. */
import { describe, expect, it } from 'vitest';
import { FLAG_CF, FLAG_IF, FLAG_IOPL, FLAG_OF, FLAG_TF } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { MODE_64, MODE_SIZE_MASK } from '../cpu/mode.js';
import { AT, SEL, TestProcessor } from '../cpu/test-processor.js';
import { takeInterrupt } from './exceptions.js';
import { FAULT, NEXT, REDISPATCH } from './outcome.js';

const RAX = L.gprOffset(0);
const RCX = L.gprOffset(1);
const RDX = L.gprOffset(2);
const RSI = L.gprOffset(6);
const RDI = L.gprOffset(7);
const R11 = L.gprOffset(11);

describe('control registers', () => {
  it('enter and leave long mode', () => {
    const t = new TestProcessor().protectedMode();
    t.longMode();
    t.record.setPair(L.CR0, 0x33, 0);
    t.record.setPair(L.EFER, 0x101, 0);
    t.record.setU16(L.segmentOffset(L.SEG.cs) + L.SEG_ATTRIBUTES, 0xc9b);
    t.cpu.mmu.reconfigure();
    t.cpu.modeChanged();
    expect(t.call('movToCr', 0, 0x80000033n)).toBe(REDISPATCH);
    expect(t.record.u32(L.EFER) & 0x400).toBe(0x400);
    expect(t.cpu.is64).toBe(false);
    t.call('jmpFar', SEL.code64, AT.code, 4);
    expect(t.record.i32(L.MODE) & MODE_SIZE_MASK).toBe(MODE_64);
    expect(t.call('movToCr', 0, 0x33)).toBe(FAULT);
    t.call('jmpFar', SEL.code32, AT.code, 4);
    expect(t.call('movToCr', 0, 0x33)).toBe(REDISPATCH);
    expect(t.record.u32(L.EFER) & 0x500).toBe(0x100);
  });

  it.each([
    ['paging without protection', 0, 0x80000000n],
    ['NW without CD', 0, 0x20000033n],
    ['upper bits of CR0', 0, 0x1_8001_0033n],
    ['an unknown bit of CR4', 4, 0x8006a0n],
    ['CR4.PAE off in long mode', 4, 0x680n],
    ['a reserved bit of CR3', 3, 1n << 46n],
    ['CR8 above 15', 8, 16n],
  ])('refuse %s', (_name, number, value) => {
    const t = new TestProcessor().longMode();
    expect(t.call('movToCr', number, value)).toBe(FAULT);
    expect(t.fault).toEqual([13, 0]);
  });

  it('are privileged; those that do not exist are undefined', () => {
    const t = new TestProcessor().longMode();
    expect(t.call('movFromCr', 1)).toBe(FAULT);
    expect(t.fault[0]).toBe(6);
    t.userMode();
    expect(t.call('movFromCr', 0)).toBe(FAULT);
    expect(t.fault).toEqual([13, 0]);
  });

  it('keep ET set and read back', () => {
    const t = new TestProcessor().longMode();
    t.call('movToCr', 0, 0x80010023n);
    t.call('movFromCr', 0);
    expect(t.record.u64(L.ARG0)).toBe(0x80010033n);
    t.call('movToCr', 8, 5);
    t.call('movFromCr', 8);
    expect(t.record.u64(L.ARG0)).toBe(5n);
  });

  it('load PAE top entries with CR3 and refuse reserved bits in them', () => {
    const t = new TestProcessor().protectedMode();
    t.record.setPair(L.CR4, 0x20, 0);
    t.record.setPair(L.CR3, 0x20020, 0);
    t.setU64(0x20020, 0x21001n);
    t.setU64(0x21000, 0x83n);
    expect(t.call('movToCr', 0, 0x80000033n)).toBe(REDISPATCH);
    expect(t.cpu.memory.read32(AT.gdt + SEL.tss, 0, 0)).toBe(0x30000067);
    t.setU64(0x20060, 0x21003n);
    expect(t.call('movToCr', 3, 0x20060)).toBe(FAULT);
    expect(t.record.u32(L.CR3)).toBe(0x20020);
  });

  it('LMSW sets PE and never clears it', () => {
    const t = new TestProcessor();
    t.call('lmsw', 1);
    expect(t.record.u32(L.CR0) & 1).toBe(1);
    t.call('lmsw', 0);
    expect(t.record.u32(L.CR0) & 1).toBe(1);
    t.record.setPair(L.CR0, 0x80010031 | 8, 0);
    t.call('clts');
    expect(t.record.u32(L.CR0)).toBe(0x80010031);
  });

  it('LGDT and SGDT by operand size', () => {
    const t = new TestProcessor().longMode();
    t.view.setUint16(0x8000, 0x7f, true);
    t.setU64(0x8002, 0xffff800000001234n);
    expect(t.call('lgdt', 0x8000, 8)).toBe(NEXT);
    expect(t.record.u64(L.GDTR)).toBe(0xffff800000001234n);
    t.call('sgdt', 0x8100, 8);
    expect(t.u64(0x8102)).toBe(0xffff800000001234n);
    t.setU64(0x8002, 0x0000800000001234n);
    expect(t.call('lgdt', 0x8000, 8)).toBe(FAULT);
    const legacy = new TestProcessor().protectedMode();
    legacy.setU64(0x8002, 0x12345678n);
    legacy.call('lidt', 0x8000, 2);
    expect(legacy.record.u32(L.IDTR)).toBe(0x345678);
  });

  it('debug registers: general detect, aliases, fixed bits', () => {
    const t = new TestProcessor().longMode();
    t.call('movToDr', 7, 0xffffdfffn);
    t.call('movFromDr', 5);
    expect(t.record.u64(L.ARG0)).toBe(0xffff07ffn);
    t.record.setPair(L.DR + 56, 0x2400, 0);
    expect(t.call('movFromDr', 0)).toBe(FAULT);
    expect(t.fault[0]).toBe(1);
    expect(t.record.u32(L.DR + 48) & (1 << 13)).not.toBe(0);
    expect(t.call('movFromDr', 0)).toBe(NEXT);
  });
});

describe('system calls', () => {
  it('SYSCALL and SYSRET in 64-bit mode', () => {
    const t = new TestProcessor().longMode().userMode();
    t.record.setU64(L.STAR, 0x0023_0010_0000_0000n);
    t.record.setU64(L.LSTAR, 0xffff800000001000n);
    t.record.setPair(L.SFMASK, 0x47700, 0);
    t.record.setEflags(FLAG_IF | FLAG_CF);
    expect(t.call('syscall')).toBe(REDISPATCH);
    expect(t.cpu.cpl).toBe(0);
    expect(t.record.u64(L.RIP)).toBe(0xffff800000001000n);
    expect(t.record.u64(RCX)).toBe(BigInt(AT.code + 2));
    expect(t.record.u64(R11)).toBe(BigInt(FLAG_IF | FLAG_CF | 2));
    expect(t.record.eflags()).toBe(FLAG_CF | 2);
    expect(t.record.segmentSelector(L.SEG.cs)).toBe(0x10);
    expect(t.record.segmentSelector(L.SEG.ss)).toBe(0x18);
    expect(t.call('sysret', 8)).toBe(REDISPATCH);
    expect(t.cpu.cpl).toBe(3);
    expect(t.record.segmentSelector(L.SEG.cs)).toBe(0x33);
    expect(t.record.segmentSelector(L.SEG.ss)).toBe(0x2b);
    expect(t.record.u64(L.RIP)).toBe(BigInt(AT.code + 2));
    expect(t.record.eflags()).toBe(FLAG_IF | FLAG_CF | 2);
  });

  it('are undefined while EFER.SCE is clear; SYSENTER in long mode', () => {
    const t = new TestProcessor().longMode();
    t.record.setI32(L.EFER, 0xd00);
    for (const name of ['syscall', 'sysenter', 'sysexit']) {
      expect(t.call(name)).toBe(FAULT);
      expect(t.fault).toEqual([6, -1]);
    }
  });

  it('SYSENTER and SYSEXIT in protected mode', () => {
    const t = new TestProcessor().protectedMode().userMode();
    t.record.setPair(L.SYSENTER_CS, 0x10, 0);
    t.record.setPair(L.SYSENTER_EIP, 0x7000, 0);
    t.record.setPair(L.SYSENTER_ESP, 0x8000, 0);
    t.call('sysenter');
    expect([t.cpu.cpl, t.record.u32(L.RIP), t.record.u32(L.gprOffset(4))]).toEqual([
      0, 0x7000, 0x8000,
    ]);
    t.record.setPair(RDX, 0x1234, 0);
    t.record.setPair(RCX, 0x5678, 0);
    t.call('sysexit');
    expect([t.cpu.cpl, t.record.u32(L.RIP), t.record.u32(L.gprOffset(4))]).toEqual([
      3, 0x1234, 0x5678,
    ]);
    expect(t.record.segmentSelector(L.SEG.cs)).toBe(0x23);
  });

  it('SWAPGS', () => {
    const t = new TestProcessor().longMode();
    t.record.setU64(L.KERNEL_GS_BASE, 0xffff888000000000n);
    t.record.setU64(L.segmentOffset(L.SEG.gs), 7n);
    t.call('swapgs');
    expect(t.record.u64(L.segmentOffset(L.SEG.gs))).toBe(0xffff888000000000n);
    expect(t.record.u64(L.KERNEL_GS_BASE)).toBe(7n);
  });
});

describe('flags', () => {
  it('CLI, STI and POPF obey IOPL', () => {
    const t = new TestProcessor().protectedMode().userMode();
    expect(t.call('cli')).toBe(FAULT);
    expect(t.fault).toEqual([13, 0]);
    t.record.setEflags(FLAG_IF);
    t.call('popf', FLAG_IOPL | FLAG_OF | FLAG_TF, 4);
    expect(t.record.eflags()).toBe(FLAG_IF | FLAG_OF | FLAG_TF | 2);
    t.record.setEflags(FLAG_IOPL | FLAG_IF);
    expect(t.call('cli')).toBe(NEXT);
    expect(t.record.eflags()).toBe(FLAG_IOPL | 2);
  });

  it('INTO traps on overflow only', () => {
    const t = new TestProcessor().protectedMode();
    t.gate(4);
    expect(t.call('into')).toBe(NEXT);
    t.record.setEflags(FLAG_OF, FLAG_OF);
    expect(t.call('into')).toBe(REDISPATCH);
    expect(t.record.u32(L.RIP)).toBe(AT.handlers + 64);
  });
});

describe('CPUID, MSRs, time and random numbers', () => {
  it('CPUID names the vendor and clears the upper halves', () => {
    const t = new TestProcessor().longMode();
    for (let i = 0; i < 4; i++) t.record.setPair(L.gprOffset(i), 0, -1);
    t.call('cpuid');
    const text = [3, 2, 1].flatMap((i) => Array.from(t.record.bytes.subarray(i * 8, i * 8 + 4)));
    expect(String.fromCharCode(...text)).toBe('AuthenticAMD');
    expect(t.record.hi(RAX)).toBe(0);
  });

  it('RDMSR and WRMSR reach the table, then the sink, then #GP', () => {
    const t = new TestProcessor().longMode();
    t.record.setPair(RCX, 0xc0000082 | 0, 0);
    t.record.setPair(RAX, 0x1000, 0);
    t.record.setPair(RDX, -0x8000, 0);
    t.call('wrmsr');
    expect(t.record.u64(L.LSTAR)).toBe(0xffff800000001000n);
    t.record.setPair(RCX, 0x1234, 0);
    expect(t.call('rdmsr')).toBe(FAULT);
    expect(t.exits).toMatchObject([{ kind: 'msr', direction: 'read', index: 0x1234, fault: true }]);
    t.onExit = (exit) => {
      if (exit.kind !== 'msr') return;
      exit.fault = false;
      exit.lo = 77;
    };
    expect(t.call('rdmsr')).toBe(NEXT);
    expect(t.record.u64(RAX)).toBe(77n);
  });

  it('RDTSC follows the clock and CR4.TSD', () => {
    const t = new TestProcessor().longMode();
    t.time.now = 2 ** 33 + 5;
    t.call('rdtsc');
    expect([t.record.u64(RAX), t.record.u64(RDX)]).toEqual([5n, 2n]);
    t.record.setI32(L.CR4, 0x6a4);
    t.userMode();
    expect(t.call('rdtsc')).toBe(FAULT);
  });

  it('RDRAND sets CF and clears the other flags', () => {
    const t = new TestProcessor().longMode();
    t.record.setEflags(FLAG_OF);
    t.call('rdrand', 2);
    expect(t.record.eflags()).toBe(FLAG_CF | 2);
    expect(t.record.u64(L.ARG0)).toBeLessThan(0x10000n);
  });

  it('VMMCALL reaches the sink; unclaimed calls return -ENOSYS of KVM', () => {
    const t = new TestProcessor().longMode();
    t.record.setU64(RAX, 9n);
    t.record.setU64(RSI, 0x1_0000_0002n);
    t.call('vmmcall');
    const [exit] = t.exits;
    expect(exit).toMatchObject({ kind: 'hypercall', number: 9 });
    expect(exit.kind === 'hypercall' && [exit.args[6], exit.args[7]]).toEqual([2, 1]);
    expect(t.record.u64(RAX)).toBe(BigInt.asUintN(64, -1000n));
  });

  it('an opcode that is not there is #UD and counted', () => {
    const t = new TestProcessor().longMode();
    t.view.setUint32(AT.code, 0x0f_0e_0d_0c, true);
    expect(t.call('ud')).toBe(FAULT);
    expect(t.fault).toEqual([6, -1]);
    t.call('ud');
    expect(t.cpu.undefinedOpcodes.list()).toEqual([['opcode 0c 0d 0e 0f', 2]]);
    t.setU64(t.pte(AT.code), 0n);
    expect(t.call('ud')).toBe(FAULT);
    expect(t.fault).toEqual([6, -1]);
  });

  it('what is counted of an opcode under keys does not name its bytes', () => {
    const t = new TestProcessor().longMode();
    t.physical.keys.cipher = { encrypt: () => {}, decrypt: () => {} };
    t.view.setUint32(AT.code, 0x0f_0e_0d_0c, true);
    expect(t.call('ud')).toBe(FAULT);
    expect(t.cpu.undefinedOpcodes.list()).toEqual([['opcode of private memory', 1]]);
  });

  it('XSETBV is undefined without CR4.OSXSAVE', () => {
    const t = new TestProcessor().longMode();
    expect(t.call('xgetbv')).toBe(FAULT);
    t.record.setPair(L.CR4, 0x406a0, 0);
    t.record.setPair(RAX, 3, 0);
    t.record.setPair(RCX, 0, 0);
    t.record.setPair(RDX, 0, 0);
    expect(t.call('xsetbv')).toBe(NEXT);
    t.record.setPair(RAX, 2, 0);
    expect(t.call('xsetbv')).toBe(FAULT);
    t.call('xgetbv');
    expect(t.record.u64(RAX)).toBe(3n);
  });
});

describe('ports', () => {
  it('IN reads ones where nobody answers, OUT carries its bytes', () => {
    const t = new TestProcessor().longMode();
    t.call('in', 0x3f8, 1);
    expect(t.record.u64(L.ARG0)).toBe(0xffn);
    t.onExit = (exit) => {
      if (exit.kind === 'io' && exit.direction === 'in') exit.data.set([1, 2, 3, 4]);
    };
    t.call('in', 0x3f8, 4);
    expect(t.record.u64(L.ARG0)).toBe(0x04030201n);
    t.exits.length = 0;
    t.call('out', 0xcf8, 2, 0x12345678);
    expect(t.exits).toMatchObject([
      {
        kind: 'io',
        direction: 'out',
        port: 0xcf8,
        size: 2,
        count: 1,
        data: Uint8Array.of(0x78, 0x56),
      },
    ]);
  });

  it('obey IOPL and the bitmap, which must cover both bytes', () => {
    const t = new TestProcessor().longMode().userMode();
    const limit = L.segmentOffset(L.SEG.tr) + L.SEG_LIMIT;
    t.view.setUint16(AT.tss + 0x66, 0x68, true);
    expect(t.call('in', 0x3f8, 1)).toBe(FAULT);
    t.record.setI32(limit, 0x68 + 0x80);
    t.physical.bytes.fill(0xff, AT.tss + 0x68, AT.tss + 0x68 + 0x100);
    expect(t.call('in', 0x3f8, 1)).toBe(FAULT);
    t.view.setUint8(AT.tss + 0x68 + 0x7f, 0xfe);
    expect(t.call('in', 0x3f8, 1)).toBe(NEXT);
    expect(t.call('in', 0x3f8, 2)).toBe(FAULT);
    expect(t.call('in', 0x3f9, 1)).toBe(FAULT);
    t.record.setI32(limit, 0x68 + 0x7f);
    expect(t.call('in', 0x3f8, 1)).toBe(FAULT);
    expect(t.fault).toEqual([13, 0]);
    t.record.setEflags(FLAG_IOPL);
    expect(t.call('in', 0x3f8, 1)).toBe(NEXT);
  });

  it('OUTS moves a page a time, within the budget, each item one instruction', () => {
    const t = new TestProcessor().longMode();
    t.physical.bytes.set([1, 2, 3, 4, 5, 6], 0x8ffc);
    t.record.setPair(RSI, 0x8ffc, 0);
    t.record.setPair(RCX, 6, 0);
    t.record.setPair(RDX, 0x3f8, 0);
    t.record.setI32(L.BUDGET, 100);
    expect(t.call('outs', 1, 1, 8, L.ZERO)).toBe(REDISPATCH);
    expect(t.record.u64(L.RIP)).toBe(BigInt(AT.code));
    expect(t.record.i32(L.BUDGET)).toBe(97);
    expect(t.record.u64(RCX)).toBe(2n);
    t.record.setI32(L.BUDGET, 0);
    expect(t.call('outs', 1, 1, 8, L.ZERO)).toBe(REDISPATCH);
    expect(t.call('outs', 1, 1, 8, L.ZERO)).toBe(NEXT);
    expect(t.call('outs', 1, 1, 8, L.ZERO)).toBe(NEXT);
    expect(t.record.u64(RSI)).toBe(0x9002n);
    const items = t.exits.map((exit) => exit.kind === 'io' && [exit.count, ...exit.data]);
    expect(items).toEqual([
      [4, 1, 2, 3, 4],
      [1, 5],
      [1, 6],
    ]);
  });

  it('INS writes memory, backwards too, and never reads the device before a fault', () => {
    const t = new TestProcessor().longMode();
    let next = 1;
    t.onExit = (exit) => {
      if (exit.kind === 'io') for (let i = 0; i < exit.data.length; i++) exit.data[i] = next++;
    };
    t.record.setPair(RDI, 0x9000, 0);
    t.record.setPair(RCX, 3, 0);
    t.record.setI32(L.BUDGET, 100);
    expect(t.call('ins', 2, 1, 8)).toBe(NEXT);
    expect(Array.from(t.physical.bytes.subarray(0x9000, 0x9006))).toEqual([1, 2, 3, 4, 5, 6]);
    t.record.setEflags(1 << 10, 1 << 10);
    t.record.setPair(RCX, 2, 0);
    expect(t.call('ins', 1, 1, 8)).toBe(REDISPATCH);
    expect(t.record.u64(RDI)).toBe(0x9005n);
    t.setU64(t.pte(0x9000), 0n);
    t.cpu.mmu.tlb.flushAll();
    const seen = t.exits.length;
    expect(t.call('ins', 1, 1, 8)).toBe(FAULT);
    expect(t.fault).toEqual([14, 2]);
    expect(t.exits).toHaveLength(seen);
  });

  it('string forms stay in their segment', () => {
    const t = new TestProcessor().protectedMode();
    const es = L.segmentOffset(L.SEG.es);
    t.record.setI32(es + L.SEG_LIMIT, 0x9001);
    t.record.setPair(RDI, 0x9000, 0);
    t.record.setPair(RCX, 5, 0);
    t.record.setI32(L.BUDGET, 100);
    t.cpu.modeChanged();
    expect(t.call('ins', 1, 1, 4)).toBe(REDISPATCH);
    expect(t.record.u32(RCX)).toBe(3);
    expect(t.call('ins', 1, 1, 4)).toBe(FAULT);
    expect(t.fault).toEqual([13, 0]);
  });
});

describe('FXSAVE and FXRSTOR', () => {
  function filled(): TestProcessor {
    const t = new TestProcessor().longMode();
    for (let i = 0; i < 256; i++) t.record.bytes[L.XMM + i] = i;
    for (let i = 0; i < 8; i++) {
      t.record.setU64(L.ST + i * 16, (1n << 63n) | BigInt(i));
      t.record.setU16(L.ST + i * 16 + 8, 0x4000 + i);
    }
    t.record.setU16(L.FCW, 0x37e);
    // An exception that is pending: without one the pointers are zeros.
    t.record.setU16(L.FSW, (3 << 11) | 0x8081);
    t.record.setU16(L.FTW, 0xfc00);
    t.record.setPair(L.FIP, 0x1234, 0x77);
    t.record.setI32(L.MXCSR, 0x1fa0);
    return t;
  }

  it('go round through memory, across pages', () => {
    const t = filled();
    const before = t.record.bytes.slice(L.XMM, L.MXCSR + 4);
    const at = 0x8f80;
    expect(t.call('fxsave', at, 1)).toBe(NEXT);
    expect(t.view.getUint16(at, true)).toBe(0x37e);
    expect(t.view.getUint8(at + 4)).toBe(0x1f);
    expect(t.view.getUint16(at + 32 + 8, true)).toBe(0x4003);
    expect(t.view.getUint32(at + 28, true)).toBe(0xffff);
    expect(t.view.getUint8(at + 160 + 255)).toBe(255);
    t.record.bytes.fill(0, L.XMM, L.MXCSR + 4);
    expect(t.call('fxrstor', at, 1)).toBe(NEXT);
    expect(t.record.bytes.slice(L.XMM, L.MXCSR + 4)).toEqual(before);
  });

  it('fault on alignment, on TS, on reserved MXCSR bits, and change nothing', () => {
    const t = filled();
    expect(t.call('fxsave', 0x8008, 0)).toBe(FAULT);
    expect(t.fault).toEqual([13, 0]);
    t.call('fxsave', 0x8000, 0);
    t.view.setUint32(0x8018, 0x10000, true);
    expect(t.call('fxrstor', 0x8000, 0)).toBe(FAULT);
    expect(t.fault).toEqual([13, 0]);
    t.record.setPair(L.CR0, t.record.i32(L.CR0) | 8, 0);
    expect(t.call('fxrstor', 0x8000, 0)).toBe(FAULT);
    expect(t.fault).toEqual([7, -1]);
  });

  it('check both pages before writing', () => {
    const t = filled();
    t.setU64(t.pte(0x9000), 0x9005n);
    expect(t.call('fxsave', 0x8f00, 0)).toBe(FAULT);
    expect(t.record.u64(L.FAULT_ADDRESS)).toBeGreaterThanOrEqual(0x9000n);
    expect(t.u64(0x8f00)).toBe(0n);
  });
});

describe('snapshots', () => {
  it('restore every register', () => {
    const t = new TestProcessor().longMode();
    t.record.setU64(RAX, 0x1234567890abcdefn);
    t.cpu.nmi();
    const saved = structuredClone(t.cpu.snapshot());
    const other = new TestProcessor();
    other.cpu.restore(saved);
    expect(other.cpu.readState()).toEqual(t.cpu.readState());
    expect(other.cpu.is64).toBe(true);
    expect(other.cpu.nmiPending).toBe(true);
    expect(() => other.cpu.restore({ ...saved, version: 9 })).toThrow(/not the state/);
  });

  it('reset puts the boot CPU at the reset vector and others to wait', () => {
    const t = new TestProcessor().longMode();
    t.cpu.reset();
    const state = t.cpu.readState();
    expect([state.rip, state.cs.base, state.cr0]).toEqual([0xfff0n, 0xffff0000n, 0x60000010n]);
    expect(t.record.i32(L.ACTIVITY)).toBe(L.ACTIVITY_RUNNING);
    expect(state.gpr.rdx).not.toBe(0n);
  });

  it('INIT takes effect after the instruction that sends it', () => {
    const t = new TestProcessor().longMode();
    t.record.setPair(L.STAR, 5, 0);
    t.record.setPair(L.XCR0, 3, 0);
    t.call('hlt');
    t.cpu.init();
    t.cpu.completed();
    expect(t.cpu.stopRequested).toBe(true);
    expect(t.cpu.is64).toBe(true);
    takeInterrupt(t.cpu);
    // Caches and what XSAVE manages stay as they were.
    expect(t.cpu.readState()).toMatchObject({ rip: 0xfff0n, cr0: 0x10n, xcr0: 3n });
    expect(t.record.i32(L.ACTIVITY)).toBe(L.ACTIVITY_RUNNING);
    expect(t.record.lo(L.STAR)).toBe(5);
  });
});
