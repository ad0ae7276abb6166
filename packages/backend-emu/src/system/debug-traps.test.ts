/** Debug exceptions in programs: breakpoints, single steps, and what comes first. */
import { describe, expect, it } from 'vitest';
import { FLAG_IF, FLAG_RF, FLAG_TF } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT, SEL } from '../cpu/test-processor.js';

const RAX = L.gprOffset(0);
const RCX = L.gprOffset(1);
const RDX = L.gprOffset(2);
const RBX = L.gprOffset(3);
const RSP = L.gprOffset(4);
const RSI = L.gprOffset(6);
const RDI = L.gprOffset(7);
const DATA = 0x40000;
const B0 = 1;
const BD = 1 << 13;
const BS = 1 << 14;
/** R/W and LEN of DR7. */
const EXECUTE = 0;
const WRITE = 1;
const PORT = 2;
const ACCESS = 3;
const LENGTH = { 1: 0, 2: 1, 8: 2, 4: 3 } as const;

const handler = (vector: number) => AT.handlers + vector * 16;

/** 64-bit mode with `code` (hexadecimal), and gates to `jmp $` for #DB and what else is named. */
function program(code: string, vectors: readonly number[] = [1]): TestComputer {
  const t = new TestComputer().longMode();
  for (const vector of vectors) {
    t.longGate(vector);
    t.load(handler(vector), 'eb fe');
  }
  return t.load(AT.code, code);
}

function arm(t: TestComputer, index: number, address: number | bigint, kind: number, bytes = 1) {
  t.record.setU64(L.DR + index * 8, BigInt(address));
  const control = kind | (LENGTH[bytes as 1] << 2);
  const dr7 = t.record.i32(L.DR + 56) | 0x400 | (1 << (index * 2)) | (control << (16 + index * 4));
  t.record.setPair(L.DR + 56, dr7, 0);
  t.cpu.breakpointsChanged();
}

/** Causes in DR6. */
const causes = (t: TestComputer) => t.record.i32(L.DR + 48) & 0xe00f;
/** RIP, CS and RFLAGS on the stack. */
const frame = (t: TestComputer) => [0, 8, 16].map((at) => Number(t.u64(t.record.lo(RSP) + at)));

/** Runs until #DB is delivered; the offset of the saved RIP in the program. */
function untilTrap(t: TestComputer, limit = 100): number | null {
  for (let i = 0; i < limit; i++) {
    if (t.rip === handler(1)) return frame(t)[0] - AT.code;
    t.run(1);
  }
  return t.rip === handler(1) ? frame(t)[0] - AT.code : null;
}

describe('breakpoints on code', () => {
  it('fault before the instruction, with RF clear; RF set lets it pass once', () => {
    const t = program('90 90 eb fc'); // 1: nop; nop; jmp 1b
    t.load(handler(1), '48 cf'); // iretq
    arm(t, 0, AT.code + 1, EXECUTE);
    expect(t.run(3)).toBe('slice');
    expect(causes(t)).toBe(B0);
    expect(t.record.u64(RSP)).toBe(BigInt(AT.stack));
    // The handler's IRET leads to the breakpoint again and again.
    const again = t.vcpu.executed;
    t.run(50);
    expect(t.vcpu.executed).toBe(again + 50);
    expect([AT.code + 1, handler(1)]).toContain(t.rip);
    // With RF in the image one round of the loop passes.
    const s = program('90 90 eb fc');
    s.load(handler(1), '80 4c 24 12 01 48 cf'); // or byte [rsp+18], 1; iretq
    arm(s, 0, AT.code + 1, EXECUTE);
    s.run(4);
    expect(s.rip).toBe(AT.code + 1);
    s.run(3);
    expect(s.rip).toBe(AT.code + 1);
    s.run(2);
    expect(s.rip).toBe(handler(1) + 5);
    expect(frame(s)[0]).toBe(AT.code + 1);
  });

  it('match the first byte only, and linear addresses', () => {
    const t = program('b8 01 00 00 00 90'); // mov eax, 1; nop
    arm(t, 0, AT.code + 1, EXECUTE);
    t.run(2);
    expect(t.rip).toBe(AT.code + 6);
    const real = new TestComputer();
    real.load(0x12345, '90 90 90');
    real.cpu.record.setPair(L.segmentOffset(L.SEG.cs), 0x12340, 0);
    real.record.setPair(L.RIP, 5, 0);
    real.record.setPair(RSP, 0x8000, 0);
    real.record.setI32(L.IDTR + 8, 0x3ff);
    real.view.setUint32(4, 0x00005000, true);
    real.cpu.modeChanged();
    arm(real, 2, 0x12347, EXECUTE);
    real.run(2);
    expect(real.rip).toBe(7);
    real.run(1);
    expect(causes(real)).toBe(4);
    expect(real.view.getUint16(0x7ffa, true)).toBe(7);
  });

  it('are reached by jumps at full speed from another page, and after an access to DR7', () => {
    const t = program('0f 23 c0 0f 23 fb e9 f5 0f 00 00'); // mov dr0,rax; mov dr7,rbx; jmp +0xff5
    t.load(AT.code + 0x1000, '90 90 90 eb fb');
    t.record.setPair(RAX, AT.code + 0x1002, 0);
    t.record.setPair(RBX, 0x402, 0);
    t.run(1000);
    expect(frame(t)[0]).toBe(AT.code + 0x1002);
    expect(causes(t)).toBe(B0);
  });

  it('come after an interrupt; a load of SS does not hold them back', () => {
    const t = program('8e d0 90 90', [1, 0x40]); // mov ss, eax; nop; nop
    t.record.setPair(RAX, SEL.data, 0);
    arm(t, 0, AT.code + 2, EXECUTE);
    arm(t, 1, AT.code + 3, EXECUTE);
    t.run(3);
    expect(frame(t)[0]).toBe(AT.code + 2);
    expect(causes(t)).toBe(1);
    const s = program('90', [1, 0x40]);
    arm(s, 0, AT.code, EXECUTE);
    s.record.setEflags(FLAG_IF, FLAG_IF);
    s.cpu.services.apic.enterVirtualWire();
    const message = { mode: 0, vector: 0x40, destination: 0, logical: false, level: false };
    s.cpu.services.apic.accept(message);
    s.run(1);
    expect(frame(s)[0]).toBe(AT.code);
    expect(causes(s)).toBe(0);
  });
});

describe('breakpoints on data', () => {
  it.each([
    ['a write', '88 07', WRITE, 1, 0, true], // mov [rdi], al
    ['a read, to one on writes', '8a 07', WRITE, 1, 0, false], // mov al, [rdi]
    ['a read', '8a 07', ACCESS, 1, 0, true],
    ['a read-modify-write', 'fe 07', ACCESS, 1, 0, true], // inc byte [rdi]
    ['its neighbour', '88 07', ACCESS, 1, 1, false],
    ['the last byte of four', '88 47 03', WRITE, 4, 0, true],
    ['the byte behind four', '88 47 04', WRITE, 4, 0, false],
    ['what lies in the aligned four', '88 07', WRITE, 4, 3, true],
    ['eight bytes that end in it', '48 89 47 f9', ACCESS, 1, 0, true], // mov [rdi-7], rax
    ['eight bytes before it', '48 89 47 f8', ACCESS, 1, 0, false],
    ['a page-crossing access', '48 89 87 fd 0f 00 00', WRITE, 1, 0x1001, true],
    ['a store of SSE', '0f 11 07', WRITE, 1, 9, true], // movups [rdi], xmm0
    ['a push', '50', WRITE, 8, AT.stack - 8 - DATA, true], // push rax
    ['a string store', 'aa', WRITE, 1, 0, true], // stosb
  ])('see %s', (_name, code, kind, bytes, offset, hit) => {
    const t = program(`${code} 90`);
    t.record.setPair(RDI, DATA, 0);
    const at = DATA + offset;
    arm(t, 3, at, kind, bytes);
    t.run(2);
    expect(causes(t)).toBe(hit ? 8 : 0);
    // A trap: the instruction has ended.
    if (hit) expect(frame(t)[0]).toBe(AT.code + code.split(' ').length);
  });

  it('are not seen where the instruction faults, nor by the tables of the system', () => {
    const t = program('48 89 87 fc 0f 00 00', [1, 14]); // mov [rdi+0xffc], rax
    t.record.setPair(RDI, DATA, 0);
    t.setU64(t.pte(DATA + 0x1000), 0n);
    t.cpu.mmu.reconfigure();
    arm(t, 0, DATA + 0xffc, WRITE, 4);
    t.run(1);
    expect(t.rip).toBe(handler(14));
    expect(causes(t)).toBe(0);
    const s = program('8e d8 90'); // mov ds, eax
    s.record.setPair(RAX, SEL.data, 0);
    arm(s, 0, AT.gdt + SEL.data, ACCESS, 8);
    s.run(2);
    expect(causes(s)).toBe(0);
  });

  it('trap after each iteration of a repeated string instruction', () => {
    const t = program('f3 a4 90'); // rep movsb
    t.record.setPair(RCX, 8, 0);
    t.record.setPair(RSI, DATA, 0);
    t.record.setPair(RDI, DATA + 0x100, 0);
    arm(t, 0, DATA + 0x103, WRITE);
    t.run(8);
    expect(t.record.lo(RCX)).toBe(4);
    expect(frame(t)[0]).toBe(AT.code);
    expect(t.vcpu.executed).toBe(8);
  });

  it('trap in zeros that are written over zeros which nobody has written before', () => {
    const t = program('f3 aa 90'); // rep stosb
    t.record.setPair(RCX, 16, 0);
    t.record.setPair(RDI, DATA, 0);
    arm(t, 0, DATA + 3, WRITE);
    t.run(8);
    expect([t.record.lo(RCX), causes(t), frame(t)[0]]).toEqual([12, B0, AT.code]);
    expect(t.vcpu.executed).toBe(8);
  });

  it('wait for the instruction after MOV SS (CVE-2018-8897 of the kernels that forgot)', () => {
    const t = program('8e 17 90 90'); // mov ss, [rdi]
    t.record.setPair(RDI, DATA, 0);
    t.view.setUint16(DATA, SEL.data, true);
    arm(t, 0, DATA, ACCESS, 2);
    expect(untilTrap(t)).toBe(3);
    const s = program('8e 17 cd 30', [1, 0x30]); // mov ss, [rdi]; int 0x30
    s.record.setPair(RDI, DATA, 0);
    s.view.setUint16(DATA, SEL.data, true);
    arm(s, 0, DATA, ACCESS, 2);
    expect(untilTrap(s)).toBe(handler(0x30) - AT.code);
  });

  it('leave code that touches nothing watched at full speed', () => {
    const t = program('48 ff c0 eb fb'); // 1: inc rax; jmp 1b
    arm(t, 0, DATA, ACCESS, 8);
    t.run(10000);
    expect(t.record.lo(RAX)).toBe(5000);
  });
});

describe('breakpoints on ports', () => {
  it('need CR4.DE, and match the bytes of the access', () => {
    const t = program('66 ef 90'); // out dx, ax
    t.record.setPair(RDX, 0x3f7, 0);
    arm(t, 1, 0x3f8, PORT);
    t.run(2);
    expect(causes(t)).toBe(0);
    t.record.setPair(L.RIP, AT.code, 0);
    t.record.setI32(L.CR4, t.record.i32(L.CR4) | 8);
    t.cpu.breakpointsChanged();
    t.run(2);
    expect(causes(t)).toBe(2);
    expect(frame(t)[0]).toBe(AT.code + 2);
    expect(t.exits.map(({ kind }) => kind)).toEqual(['io', 'io']);
  });
});

describe('the debug registers', () => {
  it('raise #DB with BD while DR7.GD is set, and open themselves to the handler', () => {
    const t = program('0f 21 f0'); // mov rax, dr6
    t.record.setI32(L.DR + 56, 0x2400);
    t.run(1);
    expect(t.rip).toBe(handler(1));
    expect(frame(t)[0]).toBe(AT.code);
    expect(causes(t)).toBe(BD);
    expect(t.record.i32(L.DR + 56)).toBe(0x400);
  });

  it('alias DR4 and DR5 unless CR4.DE is set; #GP for upper halves', () => {
    const t = program('0f 21 e0 0f 23 f8', [6, 13]); // mov rax, dr4; mov dr7, rax
    t.record.setI32(L.CR4, t.record.i32(L.CR4) & ~8);
    t.run(1);
    expect(t.record.u32(RAX)).toBe(0xffff0ff0);
    t.record.setPair(RAX, 0, 1);
    t.run(1);
    expect(t.rip).toBe(handler(13));
  });
});

describe('single steps', () => {
  const traced = (code: string, vectors: readonly number[] = [1]) => {
    const t = program(code, vectors);
    t.record.setEflags(FLAG_TF, FLAG_TF);
    return t;
  };

  it('trap after the instruction, and show TF', () => {
    const t = traced('90 90');
    t.run(1);
    expect(t.rip).toBe(handler(1));
    expect(untilTrap(t)).toBe(1);
    expect(causes(t)).toBe(BS);
    expect(frame(t)[2] & FLAG_TF).toBe(FLAG_TF);
    expect(t.record.eflags() & FLAG_TF).toBe(0);
  });

  it('begin with the instruction after the POPF or IRET that sets TF', () => {
    const t = program('9d 90 90'); // popfq
    t.setU64(AT.stack, BigInt(FLAG_TF | 2));
    expect(untilTrap(t)).toBe(2);
    const s = program('48 cf 90 90'); // iretq
    [AT.code + 2, SEL.code64, FLAG_TF | 2, AT.stack, SEL.data].forEach((word, index) => {
      s.setU64(AT.stack + index * 8, BigInt(word));
    });
    expect(untilTrap(s)).toBe(3);
  });

  it('end with the instruction after the POPF that clears it', () => {
    const t = traced('9d 90');
    t.setU64(AT.stack, 2n);
    expect(untilTrap(t)).toBe(1);
  });

  it('skip the load of SS', () => {
    const t = traced('8e d0 90 90');
    t.record.setPair(RAX, SEL.data, 0);
    expect(untilTrap(t)).toBe(3);
    // LSS is no MOV SS.
    const s = traced('0f b2 07 90 90'); // lss eax, [rdi]
    s.record.setPair(RDI, DATA, 0);
    s.view.setUint16(DATA + 4, SEL.data, true);
    expect(untilTrap(s)).toBe(3);
  });

  it('do not follow INT n into its handler (KVM once stepped there)', () => {
    const t = traced('cd 30', [1, 0x30]);
    t.load(handler(0x30), '90 90 90 48 cf');
    t.load(AT.code + 2, '90 90');
    // IRET restores TF: the next trap is after the instruction behind INT.
    expect(untilTrap(t)).toBe(3);
  });

  it('are replaced by a fault', () => {
    const t = traced('0f 0b', [1, 6]);
    t.load(handler(6), '48 83 04 24 02 48 cf'); // add qword [rsp], 2; iretq
    t.load(AT.code + 2, '90 90');
    expect(untilTrap(t)).toBe(3);
  });

  it('count each iteration of REP', () => {
    const t = traced('f3 aa 90'); // rep stosb
    t.record.setPair(RCX, 3, 0);
    t.record.setPair(RDI, DATA, 0);
    expect(untilTrap(t)).toBe(0);
    expect(t.record.lo(RCX)).toBe(2);
    expect(frame(t)[2] & FLAG_RF).toBe(0);
  });

  it('enter a kernel by SYSCALL only if SFMASK leaves TF', () => {
    const t = traced('0f 05'); // syscall
    t.record.setU64(L.LSTAR, BigInt(handler(0x50)));
    t.record.setPair(L.STAR, 0, (SEL.userCode32 << 16) | SEL.code64);
    t.record.setI32(L.SFMASK, FLAG_TF);
    t.load(handler(0x50), '90 90 90');
    t.userMode();
    t.run(3);
    expect(t.rip).toBe(handler(0x50) + 2);
    const s = traced('0f 05');
    s.record.setU64(L.LSTAR, BigInt(handler(0x50)));
    s.record.setPair(L.STAR, 0, (SEL.userCode32 << 16) | SEL.code64);
    s.userMode();
    expect(untilTrap(s)).toBe(handler(0x50) - AT.code);
  });

  it('share one exception with a data breakpoint, and come before interrupts', () => {
    const t = traced('88 07 90', [1, 0x40]);
    t.record.setPair(RDI, DATA, 0);
    arm(t, 0, DATA, WRITE);
    t.run(1);
    t.record.setEflags(FLAG_IF, FLAG_IF);
    t.cpu.services.apic.enterVirtualWire();
    const message = { mode: 0, vector: 0x40, destination: 0, logical: false, level: false };
    t.cpu.services.apic.accept(message);
    expect(untilTrap(t)).toBe(2);
    expect(causes(t)).toBe(BS | B0);
  });

  it('come before the fault of the next fetch', () => {
    const t = traced('ff e0', [1, 14]); // jmp rax
    t.record.setPair(RAX, DATA, 0);
    t.setU64(t.pte(DATA), 0n);
    t.cpu.mmu.reconfigure();
    expect(untilTrap(t)).toBe(DATA - AT.code);
  });

  it('end HLT', () => {
    const t = traced('f4 90');
    t.run(1);
    expect(untilTrap(t)).toBe(1);
    expect(t.record.i32(L.ACTIVITY)).toBe(L.ACTIVITY_RUNNING);
  });
});

describe('ICEBP', () => {
  it('is #DB without a cause, whatever the privilege of the gate', () => {
    const t = program('f1 90').userMode();
    t.run(1);
    expect(t.rip).toBe(handler(1));
    expect(frame(t)[0]).toBe(AT.code + 1);
    expect(causes(t)).toBe(0);
  });
});
