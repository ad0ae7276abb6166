// Events of the GHCB: what each needs, does and returns; malformed and hostile GHCBs.
import { describe, expect, test } from 'vitest';
import { GHCB, GHCB_ERROR, type GhcbField, NAE, REPLY } from '../abi/ghcb.js';
import { EXIT } from '../abi/vmcb.js';
import { AT, HypervisorBench, ioInfo, type Request } from '../testing/hypervisor-bench.js';
import { GHCB_EVENTS } from './ghcb-protocol.js';
import type { Next } from './hypervisor.js';

const GP_EVENT = 0x8000_0b0dn;
const OK = [0n, 0n] as const;
const refused = (error: number) => [BigInt(REPLY.ERROR), BigInt(error)];

interface Case {
  readonly name: string;
  readonly code: number;
  readonly request?: Request;
  /** Fields without which it is malformed, beside the three that always are needed. */
  readonly required?: readonly GhcbField[];
  /** The fields of the reply. */
  readonly answered?: Partial<Record<GhcbField, bigint>>;
  readonly reply?: readonly [bigint, bigint];
  readonly next?: Next;
  readonly reached?: readonly string[];
}

const SCRATCH = BigInt(AT.ghcb + GHCB.SHARED_BUFFER);

const CASES: readonly Case[] = [
  { name: 'DR7 read', code: EXIT.READ_DR7, answered: { RAX: 0x400n } },
  { name: 'DR7 write', code: EXIT.WRITE_DR7, request: { RAX: 0x55n }, required: ['RAX'] },
  {
    name: 'RDTSC',
    code: EXIT.RDTSC,
    answered: { RAX: 0x1234n, RDX: 0x56n },
    reached: ['rdtsc'],
  },
  {
    name: 'RDPMC',
    code: EXIT.RDPMC,
    request: { RCX: 2n },
    required: ['RCX'],
    answered: { RAX: 0x99n, RDX: 0n },
    reached: ['rdpmc 2'],
  },
  {
    name: 'CPUID',
    code: EXIT.CPUID,
    request: { RAX: 7n, RCX: 3n },
    required: ['RAX', 'RCX'],
    answered: { RAX: 7n, RBX: 3n, RCX: 0n, RDX: 1n },
    reached: ['cpuid 7 3'],
  },
  {
    name: 'CPUID of leaf Dh',
    code: EXIT.CPUID,
    request: { RAX: 0xdn, RCX: 0n, XCR0: 7n },
    required: ['RAX', 'RCX', 'XCR0'],
    answered: { RAX: 0xdn, RBX: 0n, RCX: 0n, RDX: 7n },
  },
  {
    name: 'CPUID of leaf Dh, subleaf 1',
    code: EXIT.CPUID,
    request: { RAX: 0xdn, RCX: 1n, XCR0: 3n, XSS: 0n },
    required: ['RAX', 'RCX', 'XCR0'],
    answered: { RAX: 0xdn, RBX: 1n, RCX: 0n, RDX: 3n },
  },
  { name: 'INVD', code: EXIT.INVD },
  {
    name: 'OUT of a byte',
    code: EXIT.IOIO,
    request: { SW_EXITINFO1: ioInfo(0x3f8, 1), RAX: 0x1122_3341n },
    required: ['RAX'],
    reached: ['out 3f8 1x1 41'],
  },
  {
    name: 'OUT of a dword',
    code: EXIT.IOIO,
    request: { SW_EXITINFO1: ioInfo(0xcf8, 4), RAX: 0x8000_0010n },
    required: ['RAX'],
    reached: ['out cf8 4x1 10000080'],
  },
  {
    name: 'IN of a word',
    code: EXIT.IOIO,
    request: { SW_EXITINFO1: ioInfo(0x1f0, 2, { input: true }) },
    answered: { RAX: 0x0201n },
    reached: ['in 1f0 2x1 0102'],
  },
  {
    name: 'IN of a dword',
    code: EXIT.IOIO,
    request: { SW_EXITINFO1: ioInfo(0xcfc, 4, { input: true }) },
    answered: { RAX: 0x0403_0201n },
  },
  {
    name: 'OUTS',
    code: EXIT.IOIO,
    request: {
      SW_EXITINFO1: ioInfo(0x80, 2, { string: true, rep: true }),
      SW_EXITINFO2: 2n,
      SW_SCRATCH: SCRATCH,
    },
    required: ['SW_SCRATCH'],
    reached: ['out 80 2x2 00000000'],
  },
  {
    name: 'RDMSR',
    code: EXIT.MSR,
    request: { SW_EXITINFO1: 0n, RCX: 0x1bn },
    required: ['RCX'],
    answered: { RAX: 0xfee0_0900n, RDX: 0n },
    reached: ['rdmsr 1b'],
  },
  {
    name: 'WRMSR',
    code: EXIT.MSR,
    request: { SW_EXITINFO1: 1n, RCX: 0x1bn, RAX: 1n, RDX: 2n },
    required: ['RAX', 'RCX', 'RDX'],
    reached: ['wrmsr 1b'],
  },
  {
    name: 'VMMCALL',
    code: EXIT.VMMCALL,
    request: { RAX: 5n, CPL: 0n, RBX: 1n, RCX: 2n << 32n, RDX: 3n, RSI: 4n },
    required: ['RAX', 'CPL'],
    answered: { RAX: 7n },
    reached: ['hypercall 5 1,0,0,2,3,0,4,0'],
  },
  {
    name: 'RDTSCP',
    code: EXIT.RDTSCP,
    answered: { RAX: 0x1234n, RCX: 0n, RDX: 0x56n },
    reached: ['rdtsc'],
  },
  { name: 'WBINVD', code: EXIT.WBINVD },
  {
    name: 'MONITOR',
    code: EXIT.MONITOR,
    request: { RAX: 0n, RCX: 0n, RDX: 0n },
    required: ['RAX', 'RCX', 'RDX'],
  },
  { name: 'MWAIT', code: EXIT.MWAIT, request: { RAX: 0n, RCX: 0n }, required: ['RAX', 'RCX'] },
  {
    name: 'MMIO read',
    code: NAE.MMIO_READ,
    request: { SW_EXITINFO1: 0xfec0_0010n, SW_EXITINFO2: 4n, SW_SCRATCH: SCRATCH },
    required: ['SW_SCRATCH'],
    reached: ['read fec00010 01020304'],
  },
  {
    name: 'MMIO write',
    code: NAE.MMIO_WRITE,
    request: { SW_EXITINFO1: 0xfee0_00b0n, SW_EXITINFO2: 8n, SW_SCRATCH: SCRATCH },
    required: ['SW_SCRATCH'],
    reached: ['write fee000b0 0000000000000000'],
  },
  { name: 'NMI complete', code: NAE.NMI_COMPLETE },
  { name: 'AP reset hold', code: NAE.AP_RESET_HOLD, next: 'reset-hold' },
  {
    name: 'AP jump table, get',
    code: NAE.AP_JUMP_TABLE,
    request: { SW_EXITINFO1: 1n },
    reply: [0n, 0n],
  },
  { name: 'hypervisor features', code: NAE.HV_FEATURES },
  { name: 'termination', code: NAE.TERMINATE, next: 'terminated' },
  { name: 'unsupported event', code: NAE.UNSUPPORTED_EVENT, next: 'terminated' },
];

const requestOf = ({ request = {}, required = [] }: Case): Request => {
  for (const field of required) expect(request).toHaveProperty(field);
  return request;
};

test('the cases are all events there are', () => {
  expect(new Set(CASES.map(({ code }) => code))).toEqual(new Set(GHCB_EVENTS.keys()));
});

describe('ES-07 ES-06 an event', () => {
  test.each(CASES)('$name ($code): result and returned bits', (each) => {
    const bench = new HypervisorBench();
    expect(bench.event(each.code, requestOf(each))).toBe(each.next ?? 'run');
    if (each.next === 'terminated') return;
    expect(bench.reply).toEqual(each.reply ?? OK);
    expect(bench.answered).toEqual(each.answered ?? {});
    const { returns } = GHCB_EVENTS.get(each.code)!;
    for (const field of Object.keys(each.answered ?? {})) expect(returns).toContain(field);
    if (each.reached !== undefined) expect(bench.host.reached).toEqual(each.reached);
    expect(bench.hypervisor.statistics.events.of(each.code)).toBe(1);
  });

  const always = ['SW_EXITCODE', 'SW_EXITINFO1', 'SW_EXITINFO2'] as const;
  const withField = CASES.flatMap((each) =>
    [...always, ...(each.required ?? [])].map((field) => ({ ...each, field })),
  );
  test.each(withField)('$name without $field: missing input', ({ field, ...each }) => {
    const bench = new HypervisorBench();
    expect(bench.event(each.code, { ...requestOf(each), missing: [field] })).toBe('run');
    expect(bench.reply).toEqual(refused(GHCB_ERROR.MISSING_INPUT));
    expect(bench.answered).toEqual({});
    expect(bench.host.reached).toEqual([]);
    expect(bench.host.exits).toEqual([]);
  });
});

test('with version 1 events of version 2 are unknown', () => {
  for (const each of CASES.filter(({ code }) => GHCB_EVENTS.get(code)?.since === 2)) {
    const bench = new HypervisorBench({ ghcbVersion: 1 });
    expect(bench.event(each.code, each.request)).toBe('run');
    expect(bench.reply).toEqual(refused(GHCB_ERROR.INVALID_EVENT));
  }
});

describe('ES-16 DR7', () => {
  test('all but reserved bits is read back; the upper half is not to be set', () => {
    const bench = new HypervisorBench();
    bench.event(EXIT.WRITE_DR7, { RAX: 0xf0001n });
    bench.event(EXIT.READ_DR7);
    expect(bench.answered).toEqual({ RAX: 0xf0401n });
    bench.event(EXIT.WRITE_DR7, { RAX: 1n << 32n });
    expect(bench.reply).toEqual([1n, GP_EVENT]);
    bench.event(EXIT.READ_DR7);
    expect(bench.answered).toEqual({ RAX: 0xf0401n });
    bench.event(EXIT.WRITE_DR7, { RAX: 0xffff_ffffn });
    bench.event(EXIT.READ_DR7);
    expect(bench.answered).toEqual({ RAX: 0xffff_27ffn });
  });
});

describe('ES-10 an exception', () => {
  test.each([
    ['RDMSR of an unknown index', EXIT.MSR, { SW_EXITINFO1: 0n, RCX: 0x999n }],
    ['WRMSR of an unknown index', EXIT.MSR, { SW_EXITINFO1: 1n, RCX: 0x999n, RAX: 0n, RDX: 0n }],
    ['RDPMC of a counter that is not there', EXIT.RDPMC, { RCX: 9n }],
  ])('%s asks for #GP', (_name, code, request) => {
    const bench = new HypervisorBench();
    expect(bench.event(code, request)).toBe('run');
    expect(bench.reply).toEqual([BigInt(REPLY.RAISE), GP_EVENT]);
    expect(bench.answered).toEqual({});
  });
});

describe('registers of the VMSA', () => {
  test.each([0xc0000080, 0xc0000100, 0x277, 0xc0010130])('MSR %s is 0 and stays it', (index) => {
    const bench = new HypervisorBench();
    bench.event(EXIT.MSR, { SW_EXITINFO1: 1n, RCX: BigInt(index), RAX: 5n, RDX: 5n });
    expect(bench.reply).toEqual(OK);
    bench.event(EXIT.MSR, { SW_EXITINFO1: 0n, RCX: BigInt(index) });
    expect(bench.answered).toEqual({ RAX: 0n, RDX: 0n });
    expect(bench.host.reached).toEqual([]);
  });
});

describe('VMMCALL', () => {
  test('from user mode is forbidden', () => {
    const bench = new HypervisorBench();
    bench.event(EXIT.VMMCALL, { RAX: 5n, CPL: 3n });
    expect(bench.answered).toEqual({ RAX: 2n ** 64n - 1n });
    expect(bench.host.reached).toEqual([]);
  });
});

describe('CPUID', () => {
  test('ES-13 sees CR4 as the write trap told it', () => {
    const bench = new HypervisorBench();
    bench.exit(EXIT.CR4_WRITE_TRAP, 0x4_06a0n);
    bench.event(EXIT.CPUID, { RAX: 1n, RCX: 0n });
    expect(bench.answered.RCX).toBe(0x4_06a0n);
    expect(bench.hypervisor.controlRegisters(0).cr4).toBe(0x4_06a0);
  });
});

describe('ES-11 a refusal', () => {
  const scratch = (SW_SCRATCH: bigint, length = 4n) => ({
    SW_EXITINFO1: 0xfec0_0000n,
    SW_EXITINFO2: length,
    SW_SCRATCH,
  });
  const string = (count: bigint, SW_SCRATCH: bigint = SCRATCH) => ({
    SW_EXITINFO1: ioInfo(0x80, 4, { string: true, rep: true }),
    SW_EXITINFO2: count,
    SW_SCRATCH,
  });
  test.each([
    ['scratch 0', 3, NAE.MMIO_READ, scratch(0n)],
    ['scratch in the save area', 3, NAE.MMIO_READ, scratch(BigInt(AT.ghcb + 0x300))],
    ['scratch over the end of the buffer', 3, NAE.MMIO_READ, scratch(BigInt(AT.ghcb + 0xfee))],
    ['scratch outside of memory', 3, NAE.MMIO_WRITE, scratch(BigInt(AT.ramEnd))],
    ['scratch over the end of memory', 3, NAE.MMIO_WRITE, scratch(BigInt(AT.ramEnd - 2))],
    ['scratch in ROM', 3, NAE.MMIO_READ, scratch(BigInt(AT.rom))],
    ['scratch at the end of addresses', 3, NAE.MMIO_READ, scratch(2n ** 64n - 4n)],
    ['more than the buffer', 3, NAE.MMIO_READ, scratch(SCRATCH, 0x7f1n)],
    ['MMIO of no bytes', 5, NAE.MMIO_READ, scratch(SCRATCH, 0n)],
    ['MMIO beyond 52 bits', 5, NAE.MMIO_READ, { ...scratch(SCRATCH), SW_EXITINFO1: 2n ** 52n }],
    ['MMIO of 2^64 - 1 bytes', 5, NAE.MMIO_WRITE, scratch(SCRATCH, 2n ** 64n - 1n)],
    ['2^63 items', 3, EXIT.IOIO, string(2n ** 63n)],
    ['more items than the buffer', 3, EXIT.IOIO, string(509n)],
    ['more items than 64 KiB', 3, EXIT.IOIO, string(0x4001n, 0x8000n)],
    ['no size', 5, EXIT.IOIO, { SW_EXITINFO1: 0x80_0000n, RAX: 0n }],
    ['two sizes', 5, EXIT.IOIO, { SW_EXITINFO1: 0x80_0030n, RAX: 0n }],
    ['a bad direction of an MSR', 5, EXIT.MSR, { SW_EXITINFO1: 2n, RCX: 0n }],
    ['a jump table that is no page', 5, NAE.AP_JUMP_TABLE, { SW_EXITINFO2: 0x1001n }],
    ['a jump table beyond memory', 5, NAE.AP_JUMP_TABLE, { SW_EXITINFO2: 2n ** 60n }],
    ['another request about it', 5, NAE.AP_JUMP_TABLE, { SW_EXITINFO1: 2n }],
    ['an unknown event', 6, 0x7d, {}],
    ['an event with upper bits', 6, 0x1_0000_0072, {}],
    ...Object.entries(NAE)
      .filter(([, code]) => code >= NAE.PAGE_STATE_CHANGE && code <= NAE.RUN_VMPL)
      .map(([name, code]) => [`${name}, which is SNP's`, 6, code, {}] as const),
  ] as const)('of %s: error %s', (_name, error, code, request) => {
    const bench = new HypervisorBench();
    expect(bench.event(code, request)).toBe('run');
    expect(bench.reply).toEqual(refused(error));
    expect(bench.host.reached).toEqual([]);
  });

  test('of a usage other than 0: error 2', () => {
    const bench = new HypervisorBench();
    bench.memory.bytes[AT.ghcb + GHCB.USAGE] = 1;
    bench.event(EXIT.CPUID, { RAX: 0n, RCX: 0n });
    expect(bench.reply).toEqual(refused(GHCB_ERROR.INVALID_USAGE));
  });

  test('counts what has no name', () => {
    const bench = new HypervisorBench();
    for (let code = 0; code < 100; code++) bench.event(0x1_0000_0000 + code);
    expect(bench.hypervisor.statistics.events.unknown).toBe(100);
    expect(bench.hypervisor.summary().join().length).toBeLessThan(400);
  });
});

describe('ES-08 INS and OUTS', () => {
  test.each([
    [1, 2032],
    [2, 1016],
    [4, 508],
  ] as const)('%s bytes: as many items as the buffer has, in one go', (size, count) => {
    const bench = new HypervisorBench();
    const buffer = bench.memory.bytes.subarray(Number(SCRATCH), Number(SCRATCH) + size * count);
    buffer.forEach((_, at) => {
      buffer[at] = at * 7;
    });
    const before = [...buffer];
    const out = { string: true, rep: true };
    const request = { SW_EXITINFO2: BigInt(count), SW_SCRATCH: SCRATCH };
    bench.event(EXIT.IOIO, { ...request, SW_EXITINFO1: ioInfo(0x1f0, size, out) });
    expect(bench.reply).toEqual(OK);
    const sent = before.map((byte) => byte.toString(16).padStart(2, '0')).join('');
    expect(bench.host.reached).toEqual([`out 1f0 ${size}x${count} ${sent}`]);

    bench.event(EXIT.IOIO, {
      ...request,
      SW_EXITINFO1: ioInfo(0x1f0, size, { ...out, input: true }),
    });
    expect(bench.reply).toEqual(OK);
    expect([...buffer]).toEqual(before.map((_, at) => (at + 1) & 0xff));
    // What follows the buffer in the page is nobody's to change.
    expect(bench.memory.bytes[AT.ghcb + GHCB.PROTOCOL_VERSION]).toBe(0);
  });

  test('more than the buffer holds comes in chunks, or from other shared memory', () => {
    const bench = new HypervisorBench();
    const words = 3000;
    for (let done = 0; done < words; ) {
      const count = Math.min(words - done, 1016);
      for (let at = 0; at < count; at++) {
        const value = done + at;
        bench.memory.bytes.set([value & 0xff, value >> 8], Number(SCRATCH) + 2 * at);
      }
      bench.event(EXIT.IOIO, {
        SW_EXITINFO1: ioInfo(0x80, 2, { string: true, rep: true }),
        SW_EXITINFO2: BigInt(count),
        SW_SCRATCH: SCRATCH,
      });
      expect(bench.reply).toEqual(OK);
      done += count;
    }
    const chunks = bench.host.reached.map((line) => line.split(' ')[3]!);
    expect(chunks.map(({ length }) => length / 4)).toEqual([1016, 1016, 968]);
    const all = chunks.join('').match(/..../g)!;
    expect(all[2999]).toBe('b70b');

    bench.event(EXIT.IOIO, {
      SW_EXITINFO1: ioInfo(0x80, 4, { string: true, rep: true, input: true }),
      SW_EXITINFO2: 0x4000n,
      SW_SCRATCH: BigInt(AT.shared + 0x10000),
    });
    expect(bench.reply).toEqual(OK);
    // The machine gets a page at a time, as from REP INS of an unprotected guest.
    expect(bench.host.reached.slice(3).length).toBe(16);
    expect(bench.memory.bytes[AT.shared + 0x1ffff]).toBe(0);
    expect(bench.memory.bytes[AT.shared + 0x1fffe]).toBe(0xff);
  });

  test('give the host its turn, MMIO sooner', () => {
    const turns = (code: number, info1: bigint) => {
      const bench = new HypervisorBench();
      for (let done = 0; done < 64; done++) {
        bench.event(code, {
          SW_EXITINFO1: info1,
          SW_EXITINFO2: 0x8000n,
          SW_SCRATCH: BigInt(AT.shared),
        });
      }
      expect(bench.reply).toEqual(OK);
      return bench.vcpu.yields;
    };
    expect(turns(EXIT.IOIO, ioInfo(0x80, 1, { string: true, rep: true }))).toBe(2);
    expect(turns(NAE.MMIO_WRITE, 0xfed0_0000n)).toBe(16);
  });

  test('no items reach no device', () => {
    const bench = new HypervisorBench();
    bench.event(EXIT.IOIO, {
      SW_EXITINFO1: ioInfo(0x80, 1, { string: true, rep: true }),
      SW_SCRATCH: SCRATCH,
    });
    expect(bench.reply).toEqual(OK);
    expect(bench.host.reached).toEqual([]);
  });
});

describe('ES-09 MMIO', () => {
  test('reads into the scratch area, writes from it', () => {
    const bench = new HypervisorBench();
    const at = AT.shared + 0xff9;
    const request = { SW_EXITINFO1: 0xfed0_0000n, SW_SCRATCH: BigInt(at) };
    bench.event(NAE.MMIO_READ, { ...request, SW_EXITINFO2: 8n });
    expect([...bench.memory.bytes.subarray(at, at + 9)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 0]);
    bench.event(NAE.MMIO_WRITE, { ...request, SW_EXITINFO2: 2n });
    expect(bench.host.reached).toEqual(['read fed00000 0102030405060708', 'write fed00000 0102']);
  });

  test('more than 8 bytes are several accesses', () => {
    const bench = new HypervisorBench();
    bench.event(NAE.MMIO_READ, {
      SW_EXITINFO1: 0xfed0_0000n,
      SW_EXITINFO2: 18n,
      SW_SCRATCH: SCRATCH,
    });
    expect(bench.host.reached.map((line) => line.split(' ')[1])).toEqual([
      'fed00000',
      'fed00008',
      'fed00010',
    ]);
    expect(bench.host.reached[2]).toBe('read fed00010 1112');
  });
});

describe('ES-17 other CPUs', () => {
  test('the jump table that the launch made, until the guest sets another', () => {
    const bench = new HypervisorBench({ apJumpTable: 0x5000 });
    bench.event(NAE.AP_JUMP_TABLE, { SW_EXITINFO1: 1n });
    expect(bench.reply).toEqual([0n, 0x5000n]);
    bench.event(NAE.AP_JUMP_TABLE, { SW_EXITINFO2: 0x12_3456_7000n });
    expect(bench.reply).toEqual(OK);
    bench.event(NAE.AP_JUMP_TABLE, { SW_EXITINFO1: 1n });
    expect(bench.reply).toEqual([0n, 0x12_3456_7000n]);
  });

  test('a reset hold ends with the next SIPI, and INFO2 tells', () => {
    const bench = new HypervisorBench();
    expect(bench.hypervisor.startup(bench.vcpu)).toBe('run');
    expect(bench.event(NAE.AP_RESET_HOLD)).toBe('reset-hold');
    expect(bench.reply).toEqual(OK);
    expect(bench.hypervisor.startup(bench.vcpu)).toBe('run');
    expect(bench.reply).toEqual([0n, 1n]);
  });

  test('the hold and the table are saved with the VM', () => {
    const first = new HypervisorBench();
    first.event(NAE.AP_JUMP_TABLE, { SW_EXITINFO2: 0x9000n });
    first.event(NAE.AP_RESET_HOLD);
    const second = new HypervisorBench();
    second.memory.bytes.set(first.memory.bytes);
    second.hypervisor.restore(first.hypervisor.snapshot());
    second.hypervisor.startup(second.vcpu);
    expect(second.reply).toEqual([0n, 1n]);
    second.event(NAE.AP_JUMP_TABLE, { SW_EXITINFO1: 1n });
    expect(second.reply).toEqual([0n, 0x9000n]);
  });

  test.each([
    { type: 'another', version: 1, state: { apJumpTable: 0, vcpus: [] } },
    { type: 'sev-es-hypervisor', version: 2, state: { apJumpTable: 0, vcpus: [] } },
    { type: 'sev-es-hypervisor', version: 1, state: { apJumpTable: -1, vcpus: [] } },
    { type: 'sev-es-hypervisor', version: 1, state: { apJumpTable: 0, vcpus: [{}] } },
    { type: 'sev-es-hypervisor', version: 1, state: null },
  ])('a record that is none is refused: %j', (snapshot) => {
    const { hypervisor } = new HypervisorBench();
    expect(() => hypervisor.restore(snapshot)).toThrow(/no record/);
  });
});

describe('ES-12 termination', () => {
  test('set, reason and more through the GHCB', () => {
    const bench = new HypervisorBench();
    expect(bench.event(NAE.TERMINATE, { SW_EXITINFO1: 0x51n, SW_EXITINFO2: 9n })).toBe(
      'terminated',
    );
    expect(bench.host.exits).toMatchObject([
      { kind: 'system-event', event: 'sev-term', data: [AT.ghcb, 0x51, 9] },
    ]);
    expect(bench.hypervisor.summary().at(-1)).toBe(
      'the guest terminated itself: 1:5 (Linux: hypervisor did not answer CPUID)',
    );
  });

  test('an event that the guest cannot handle is named', () => {
    const bench = new HypervisorBench();
    bench.event(NAE.UNSUPPORTED_EVENT, { SW_EXITINFO1: 0x404n });
    expect(bench.host.exits).toMatchObject([
      { kind: 'error', code: 'ghcb-unsupported-event', message: /#VC 404h/ },
    ]);
  });
});

describe('ES-04 the address of the GHCB', () => {
  test.each([0n, BigInt(AT.ramEnd), BigInt(AT.rom), 2n ** 52n, 2n ** 64n - 0x1000n])(
    '%s: no memory for a GHCB, and the VM ends',
    (address) => {
      const bench = new HypervisorBench();
      expect(bench.request(address)).toBe('terminated');
      expect(bench.host.exits).toMatchObject([{ kind: 'error', code: 'ghcb-address' }]);
    },
  );

  test('in private memory the host sees ciphertext: no usage that it knows', () => {
    const bench = new HypervisorBench();
    const at = AT.private;
    bench.fill({ SW_EXITCODE: BigInt(EXIT.CPUID), RAX: 0n, RCX: 0n }, at);
    const before = bench.memory.bytes.slice(at, at + 0x390);
    expect(bench.request(BigInt(at))).toBe('run');
    expect(bench.host.reached).toEqual([]);
    // The refusal is written as ciphertext is: in the guest's view it is noise.
    const info1 = bench.memory.bytes.slice(at + GHCB.SW_EXITINFO1, at + GHCB.SW_EXITINFO1 + 8);
    expect([...info1]).toEqual([2 ^ 0xa5, ...Array.from({ length: 7 }, () => 0xa5)]);
    expect(bench.memory.bytes.slice(at, at + 0x390)).toEqual(before);
  });

  test('another one at each exchange, where the hypervisor allows it', () => {
    const bench = new HypervisorBench();
    bench.event(EXIT.INVD);
    bench.fill({ SW_EXITCODE: BigInt(EXIT.INVD) }, AT.shared);
    expect(bench.request(BigInt(AT.shared))).toBe('run');
  });
});

test('a page that changes under the host is read once', () => {
  const bench = new HypervisorBench();
  const { bytes } = bench.memory;
  // The device's answer comes while the guest's other CPU rewrites the whole page.
  const io = bench.host.io.bind(bench.host);
  bench.host.io = (...call) => {
    bytes.fill(0xff, AT.ghcb, AT.ghcb + 0x1000);
    io(...call);
  };
  bench.event(EXIT.IOIO, {
    SW_EXITINFO1: ioInfo(0x80, 1, { string: true, rep: true, input: true }),
    SW_EXITINFO2: 4n,
    SW_SCRATCH: SCRATCH,
  });
  expect(bench.reply).toEqual(OK);
  const at = Number(SCRATCH);
  expect([...bytes.subarray(at, at + 5)]).toEqual([1, 2, 3, 4, 0xff]);
});
