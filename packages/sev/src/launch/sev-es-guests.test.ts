/**
 * ES-01 to ES-03, ES-10, ES-13 to ES-17: small guests on the emulated processor, protected by
 * `sevEs()`: which exits they see as #VC, which leave by themselves, and what the host sees.
 */
import { emulated } from '@cloister/backend-emu';
import { definePlugin, type PluginContext, VmmError } from '@cloister/core';
import { describe, expect, test, vi } from 'vitest';
import { GHCB } from '../abi/ghcb.js';
import { EXIT, VMCB } from '../abi/vmcb.js';
import { SevEsHypervisor } from '../hypervisor/sev-es-hypervisor.js';
import { es, esImage, esRun } from '../testing/es-guest.js';
import { asm, type Host, microRun, microVm } from '../testing/micro-guest.js';
import { EmulatedPlatform } from './emulated-platform.js';
import { sev } from './sev.js';
import { type SevEsOptions, sevEs } from './sev-es.js';

type Run = Partial<Parameters<typeof esRun>[0]>;

/** One for all: its keys take long to make. */
const { chip } = new EmulatedPlatform({ seed: 'es' });
const platformOf = () => new EmulatedPlatform({ seed: 'es', chip });

const guest = (body: readonly number[], more: Run = {}, options: SevEsOptions = {}) =>
  esRun({
    body,
    backend: emulated({ tuneHost: false }),
    protection: sevEs({ platform: platformOf(), ...options }),
    ...more,
  });

const le = (value: number, bytes: number) =>
  Array.from({ length: bytes }, (_, i) => (value >>> (8 * i)) & 0xff);
const movEcx = (value: number) => [0xb9, ...le(value, 4)];
const PLANTED = 0x5ec7e71337c0ffeen;

describe('ES-03: exits of which the hypervisor needs registers are #VC with the exit code', () => {
  /** mov rdi, address; the instruction */
  const at = (address: number, ...instruction: readonly number[]) => [
    ...[0x48, 0xbf, ...le(address, 4), 0, 0, 0, 0, ...es.trapped(...instruction)],
  ];
  const CASES: readonly (readonly [string, number, readonly number[]])[] = [
    ['CPUID', 0x72, es.trapped(0x0f, 0xa2)],
    ['RDPMC', 0x6f, es.trapped(0x0f, 0x33)],
    ['INVD', 0x76, es.trapped(0x0f, 0x08)],
    ['WBINVD', 0x89, es.trapped(0x0f, 0x09)],
    ['MONITOR', 0x8a, es.trapped(0x0f, 0x01, 0xc8)],
    ['MWAIT', 0x8b, es.trapped(0x0f, 0x01, 0xc9)],
    ['VMMCALL', 0x81, es.trapped(0x0f, 0x01, 0xd9)],
    ['IN', 0x7b, es.trapped(0xe4, 0x80)],
    ['OUT', 0x7b, es.trapped(0xe6, 0x80)],
    ['OUTS', 0x7b, es.trapped(0x6e)],
    ['RDMSR of an x2APIC register', 0x7c, [...movEcx(0x802), ...es.trapped(0x0f, 0x32)]],
    ['WRMSR of the TSC', 0x7c, [...movEcx(0x10), ...es.trapped(0x0f, 0x30)]],
    ['a read of DR7', 0x27, es.trapped(0x0f, 0x21, 0xf8)],
    ['a write of DR7', 0x37, es.trapped(0x0f, 0x23, 0xf8)],
    ['a read of MMIO', 0x400, at(0xfec00000, 0x8b, 0x07)],
    ['a write of MMIO', 0x400, at(0xfec00000, 0x89, 0x07)],
    ['the local APIC', 0x400, at(0xfee00020, 0x8b, 0x07)],
  ];

  test('each of them once', async () => {
    const { log, end } = await guest([...CASES.flatMap(([, , code]) => code), ...es.end]);
    const seen = CASES.map(([name], index) => [name, log[index]]);
    expect(seen).toEqual(CASES.map(([name, code]) => [name, code]));
    expect(log.length).toBe(CASES.length);
    expect(end.reason).toBe('stopped');
  });

  test('ES-16: other debug registers and MSRs of the VMSA are the guest’s', async () => {
    const { log } = await guest([
      // mov eax, 0x1234; mov dr0, rax; xor eax, eax; mov rax, dr0
      ...[0xb8, 0x34, 0x12, 0, 0, 0x0f, 0x23, 0xc0, 0x31, 0xc0, 0x0f, 0x21, 0xc0, ...es.note],
      // STAR
      ...[...movEcx(0xc0000081), 0xb8, 0x78, 0x56, 0, 0, 0x31, 0xd2, 0x0f, 0x30],
      ...[0x31, 0xc0, 0x0f, 0x32, ...es.note],
      // mov rax, cr0: reads are not intercepted
      ...[0x0f, 0x20, 0xc0, 0x83, 0xe0, 0x01, ...es.note],
      ...es.end,
    ]);
    expect(log).toEqual([0x1234, 0x5678, 1]);
  });

  test('SEV_STATUS and CPUID tell the guest what it is', async () => {
    const { log } = await guest([
      ...[...asm.rdmsr(0xc0010131), ...es.note],
      ...es.event(0x72, 0n, 0n, { [GHCB.RAX]: 0x8000001fn, [GHCB.RCX]: 0n }),
      ...[...es.noteField(GHCB.RAX), ...es.noteField(GHCB.RBX), ...es.end],
    ]);
    const [status, eax, ebx] = log;
    expect(status).toBe(3);
    expect(eax! & 0b1010).toBe(0b1010);
    expect(ebx! & 63).toBe(51);
  });

  test('the MSR protocol is answered in the MSR', async () => {
    const { log } = await guest([
      ...[...es.request(0x002), ...asm.rdmsr(0xc0010130), ...es.note],
      ...[0x89, 0xd0, ...es.note, ...es.end],
    ]);
    const [lo, hi] = log;
    expect(lo).toBe(((51 << 24) | 1) >>> 0);
    expect(hi! & 0xffff).toBeLessThanOrEqual(hi! >>> 16);
  });

  test('ES-10: the hypervisor asks for #GP in the reply', async () => {
    const { log } = await guest([
      ...es.event(0x7c, 0n, 0n, { [GHCB.RCX]: 0x12345n }),
      ...[...es.noteField(GHCB.SW_EXITINFO1), ...es.noteField(GHCB.SW_EXITINFO2), ...es.end],
    ]);
    expect(log).toEqual([1, 0x80000b0d]);
  });
});

describe('the host', () => {
  const registers = (mark: (host: Host, context: PluginContext) => void, run: Run = {}) => {
    let context!: PluginContext;
    return guest(
      [
        // mov r12, planted; mov r13, r12
        ...[
          0x49,
          0xbc,
          ...Array.from({ length: 8 }, (_, i) => Number((PLANTED >> BigInt(8 * i)) & 0xffn)),
        ],
        ...[0x4d, 0x89, 0xe5, ...es.mark(1), ...es.mark(2)],
        // mov eax, r12d
        ...[0x44, 0x89, 0xe0, ...es.note, ...es.end],
      ],
      {
        at: { 1: (host) => mark(host, context) },
        plugins: [
          definePlugin({
            name: 'host',
            version: '1.0.0',
            api: 1,
            setup: (own) => {
              context = own;
            },
          }),
        ],
        ...run,
      },
    );
  };

  test('ES-01: reads and writes no register; the VMSA is ciphertext', async () => {
    const platform = platformOf();
    const errors: unknown[] = [];
    let raw = new Uint8Array();
    const { log } = await registers(
      (_host, { vcpus }) => {
        const [vcpu] = vcpus;
        const attempts = [() => vcpu!.readState(), () => vcpu!.writeState({} as never)];
        for (const attempt of attempts) {
          try {
            attempt();
          } catch (error) {
            errors.push(error);
          }
        }
        const { memory } = platform.controller;
        raw = new Uint8Array(memory.size);
        memory.read(0, raw, 0);
      },
      { protection: sevEs({ platform }) },
    );
    expect(errors.map((error) => error instanceof VmmError && error.code)).toEqual([
      'unsupported',
      'unsupported',
    ]);
    const planted = Buffer.alloc(8);
    planted.writeBigUInt64LE(PLANTED);
    expect(Buffer.from(raw).includes(planted)).toBe(false);
    expect(log).toEqual([Number(PLANTED & 0xffffffffn)]);
  });

  test('with SEV alone it reads them', async () => {
    let seen = 0n;
    let context!: PluginContext;
    const quad = Array.from({ length: 8 }, (_, i) => Number((PLANTED >> BigInt(8 * i)) & 0xffn));
    const keep = definePlugin({
      name: 'host',
      version: '1.0.0',
      api: 1,
      setup: (own) => {
        context = own;
      },
    });
    await microRun({
      code: [0x49, 0xbc, ...quad, ...asm.mark(1), ...asm.exit],
      backend: emulated({ tuneHost: false }),
      plugins: [sev({ platform: platformOf() }), keep],
      at: {
        1: () => {
          seen = context.vcpus[0]!.readState().gpr.r12;
        },
      },
    });
    expect(seen).toBe(PLANTED);
  });

  /** The VMSA of the only CPU is the last page of system memory. */
  const vmsa = (platform: EmulatedPlatform) => {
    const { memory } = platform.controller;
    return { memory, spa: memory.size - 4096 };
  };

  test('ES-02: a VMSA that it has changed is refused: VMRUN ends as INVALID', async () => {
    const platform = platformOf();
    const { log, end } = await registers(
      () => {
        const { memory, spa } = vmsa(platform);
        const page = new Uint8Array(4096);
        memory.read(spa, page, 0);
        page[0x350]! ^= 1;
        memory.write(spa, page, 0);
      },
      { protection: sevEs({ platform }) },
    );
    expect(log).toEqual([]);
    expect(end.reason).toBe('error');
    expect(end.message).toMatch(/VMRUN|VMSA/);
  });

  test('ES-02: so is an older one that it has put back', async () => {
    const platform = platformOf();
    const page = new Uint8Array(4096);
    const { log, end } = await guest(
      [
        ...es.mark(1),
        0x41,
        0xbc,
        1,
        0,
        0,
        0,
        ...es.mark(2),
        0xb8,
        7,
        0,
        0,
        0,
        ...es.note,
        ...es.end,
      ],
      {
        protection: sevEs({ platform }),
        at: {
          1: () => vmsa(platform).memory.read(vmsa(platform).spa, page, 0),
          2: () => vmsa(platform).memory.write(vmsa(platform).spa, page, 0),
        },
      },
    );
    expect(log).toEqual([]);
    expect(end.reason).toBe('error');
    expect(end.message).toMatch(/VMRUN|VMSA/);
  });
});

test('ES-13: the hypervisor learns new values of control registers after the write', async () => {
  // CR4.OSXSAVE shows in CPUID's leaf 1, which the hypervisor answers from what it learned.
  const leaf1 = es.event(0x72, 0n, 0n, { [GHCB.RAX]: 1n, [GHCB.RCX]: 0n });
  const { log } = await guest([
    ...[...leaf1, ...es.noteField(GHCB.RCX)],
    // mov rax, cr4; bts eax, 18; mov cr4, rax
    ...[0x0f, 0x20, 0xe0, 0x0f, 0xba, 0xe8, 18, 0x0f, 0x22, 0xe0],
    ...[...leaf1, ...es.noteField(GHCB.RCX)],
    // mov eax, 3; mov cr8, rax; mov rax, cr8
    ...[0xb8, 3, 0, 0, 0, 0x44, 0x0f, 0x22, 0xc0, 0x44, 0x0f, 0x20, 0xc0, ...es.note],
    ...es.end,
  ]);
  const [before, after, cr8] = log;
  expect((before! >>> 27) & 1).toBe(0);
  expect((after! >>> 27) & 1).toBe(1);
  expect(cr8).toBe(3);
});

test('ES-13: at EFER and CR0 it finds the new value in the VMCB', async () => {
  const trapped: number[][] = [];
  const { handleExit } = SevEsHypervisor.prototype;
  const spy = vi.spyOn(SevEsHypervisor.prototype, 'handleExit');
  spy.mockImplementation(function (this: SevEsHypervisor, vcpu) {
    const { exitCode } = vcpu.vmcb;
    if (exitCode !== EXIT.VMGEXIT) trapped.push([exitCode, vcpu.vmcb.get(VMCB.EXITINFO1)]);
    return handleExit.call(this, vcpu);
  });
  try {
    const { log } = await guest([
      // EFER: bts eax, 0 (SCE); wrmsr
      ...[...asm.rdmsr(0xc0000080), 0x0f, 0xba, 0xe8, 0, 0x0f, 0x30],
      ...[...asm.rdmsr(0xc0000080), ...es.note],
      // mov rax, cr0; bts eax, 3 (TS); mov cr0, rax
      ...[0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xe8, 3, 0x0f, 0x22, 0xc0],
      ...[0x0f, 0x20, 0xc0, ...es.note],
      // clts
      ...[0x0f, 0x06, 0x0f, 0x20, 0xc0, ...es.note],
      ...es.end,
    ]);
    const [efer, set, cleared] = log as [number, number, number];
    expect(efer & 1).toBe(1);
    expect([set & 8, cleared & 8]).toEqual([8, 0]);
    expect(trapped.slice(0, 3)).toEqual([
      [EXIT.EFER_WRITE_TRAP, efer],
      [EXIT.CR0_WRITE_TRAP, set],
      [EXIT.CR0_WRITE_TRAP, cleared],
    ]);
  } finally {
    spy.mockRestore();
  }
});

test('a reset is refused: the registers of a launch are gone', async () => {
  let reset = () => {};
  const vm = await microVm({
    code: esImage([...es.mark(1), ...es.end]),
    backend: emulated({ tuneHost: false }),
    plugins: [sevEs({ platform: platformOf() })],
    at: { 1: () => reset() },
  });
  reset = () => vm.reset();
  try {
    await expect(vm.run()).rejects.toThrow('a protected guest cannot start again in place');
  } finally {
    await vm.dispose();
  }
});

describe('interrupts', () => {
  const X2APIC = es.wrmsr(0x1b, 0xfee00d00n);
  const EOI = 0x80b;
  const SPURIOUS = es.wrmsr(0x80f, 0x1ffn);
  const ICR = 0x830;
  const SELF = 0x40000n;
  /** Notes its vector and returns; with `mov eax, n`. */
  const noting = (vector: number) => [
    ...[0x50, 0xb8, ...le(vector, 4), ...es.note, 0x58, 0x48, 0xcf],
  ];

  test('ES-14: none comes before the guest sets RFLAGS.IF', async () => {
    const { log } = await guest(
      [
        ...[...X2APIC, ...SPURIOUS, ...es.wrmsr(ICR, SELF | 0x40n)],
        ...[0xb8, 1, 0, 0, 0, ...es.note],
        // sti; nop; cli
        ...[0xfb, 0x90, 0xfa],
        ...[0xb8, 2, 0, 0, 0, ...es.note, ...es.wrmsr(EOI, 0n)],
        ...[...es.wrmsr(ICR, SELF | 0x41n), 0xfb, 0xf4],
        ...[0xb8, 3, 0, 0, 0, ...es.note, ...es.end],
      ],
      { handlers: { 0x40: noting(0x40), 0x41: noting(0x41) } },
    );
    expect(log).toEqual([1, 0x40, 2, 0x41, 3]);
  });

  test('ES-15: a second NMI waits until the guest says that the first is done', async () => {
    const nmi = es.wrmsr(ICR, 0x402n);
    const { log } = await guest(
      [
        ...[...X2APIC, ...SPURIOUS, ...nmi, 0x90],
        ...[0xb8, 1, 0, 0, 0, ...es.note, ...nmi, 0x90],
        ...[0xb8, 3, 0, 0, 0, ...es.note, ...es.event(0x80000003), 0x90],
        ...[0xb8, 4, 0, 0, 0, ...es.note, ...es.end],
      ],
      { handlers: { 2: noting(2) } },
    );
    expect(log).toEqual([2, 1, 3, 2, 4]);
  });
});

describe('ES-17: other CPUs', () => {
  const TABLE = es.event(0x80000005, 1n);

  test('a guest of one CPU has no table', async () => {
    const { log } = await guest([
      ...[...TABLE, ...es.noteField(GHCB.SW_EXITINFO2)],
      ...[0xb8, 9, 0, 0, 0, ...es.note, ...es.end],
    ]);
    expect(log).toEqual([0, 9]);
  });

  // xor ax, ax; mov ds, ax; mov word [marker], 0x1234; cli; hlt; in real mode
  const [start, marker] = [0xe000, 0xf000];
  const ap = [0x31, 0xc0, 0x8e, 0xd8, 0xc7, 0x06, ...le(marker, 2), 0x34, 0x12, 0xfa, 0xf4];
  const quad = (bytes: readonly number[]) =>
    bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  const icr = (mode: bigint) => es.wrmsr(0x830, (1n << 32n) | mode);
  const [INIT, SIPI] = [icr(0x4500n), icr(0x4601n)];
  const PLACE = [
    ...asm.store(start, quad(ap.slice(0, 8))),
    ...asm.store(start + 8, quad(ap.slice(8))),
    ...asm.store(marker, 0n),
    ...es.wrmsr(0x1b, 0xfee00d00n),
  ];
  /** IP, CS */
  const FILL = asm.store(0x5000, BigInt(start >> 4) << 16n);
  /** wait: cmp word [marker], 0; je wait */
  const WAIT = [0x66, 0x83, 0x3c, 0x25, ...le(marker, 4), 0, 0x74, 0xf5];

  test('start where the table says', async () => {
    const { log } = await guest(
      [
        ...[...TABLE, ...es.noteField(GHCB.SW_EXITINFO2)],
        ...[...PLACE, ...FILL, ...INIT, ...SIPI, ...WAIT],
        ...[...es.noteWord(marker), ...es.end],
      ],
      { cpus: 2 },
    );
    expect(log[0]).toBe(0x5000);
    expect(log.at(-1)! & 0xffff).toBe(0x1234);
  });

  test('that come before the table is filled wait for the next IPI', async () => {
    const asked: number[] = [];
    const { handleExit } = SevEsHypervisor.prototype;
    const spy = vi.spyOn(SevEsHypervisor.prototype, 'handleExit');
    spy.mockImplementation(function (this: SevEsHypervisor, vcpu) {
      const isAsked = vcpu.index === 1 && vcpu.vmcb.exitCode === EXIT.VMGEXIT;
      if (isAsked) asked.push(vcpu.vmcb.get(VMCB.GHCB_GPA));
      return handleExit.call(this, vcpu);
    });
    try {
      const { log } = await guest(
        [
          ...[...PLACE, ...INIT, ...SIPI],
          // The other CPU's turns: mov ecx, n; dec ecx; jne
          ...[0xb9, ...le(3_000_000, 4), 0xff, 0xc9, 0x75, 0xfc],
          ...[...es.noteWord(marker), 0xb8, 1, 0, 0, 0, ...es.note],
          ...[...FILL, ...SIPI, ...WAIT, ...es.noteWord(marker), ...es.end],
        ],
        { cpus: 2 },
      );
      expect(log.map((word) => word & 0xffff)).toEqual([0, 1, 0x1234]);
      // AP reset hold, by MSR, once.
      expect(asked).toEqual([6]);
    } finally {
      spy.mockRestore();
    }
  });
});
