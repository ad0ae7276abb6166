// The profile of vmm(4): what it answers, and where it ends the VM.
import { describe, expect, test } from 'vitest';
import { GHCB, type GhcbField, NAE } from '../abi/ghcb.js';
import { EXIT } from '../abi/vmcb.js';
import { AT, HypervisorBench, ioInfo, type Request } from '../testing/hypervisor-bench.js';
import { GHCB_EVENTS } from './ghcb-protocol.js';
import { MSR_REQUESTS } from './msr-protocol.js';

const vmm = () => new HypervisorBench({ host: 'openbsd' });

/** The VM ended with this reason. */
function expectEnd(bench: HypervisorBench, message: RegExp) {
  expect(bench.host.exits).toMatchObject([{ kind: 'error', message }]);
}

describe('ES-21 vmm(4) answers', () => {
  test('CPUID by MSR, and termination', () => {
    const bench = vmm();
    expect(bench.msr).toBe(0n);
    expect(bench.request(0x0000_0007_c000_0004n)).toBe('run');
    expect(bench.msr).toBe(0x0000_0001_c000_0005n);
    expect(bench.request(0x100n)).toBe('terminated');
    expect(bench.host.exits).toMatchObject([{ event: 'sev-term' }]);
  });

  test.each<[string, number, Request, Partial<Record<GhcbField, bigint>>]>([
    ['CPUID', EXIT.CPUID, { RAX: 7n, RCX: 0n }, { RAX: 7n, RBX: 0n, RCX: 0n, RDX: 1n }],
    ['CPUID of leaf Dh without XCR0', EXIT.CPUID, { RAX: 0xdn, RCX: 0n }, { RAX: 0xdn }],
    ['OUT', EXIT.IOIO, { SW_EXITINFO1: ioInfo(0x3f8, 1), RAX: 1n }, {}],
    ['IN', EXIT.IOIO, { SW_EXITINFO1: ioInfo(0x3f8, 1, { input: true }) }, { RAX: 1n }],
    ['RDMSR', EXIT.MSR, { RCX: 0x1bn }, { RAX: 0xfee0_0900n, RDX: 0n }],
    ['WRMSR', EXIT.MSR, { SW_EXITINFO1: 1n, RCX: 0x1bn, RAX: 0n, RDX: 0n }, {}],
    ['WRMSR of any index', EXIT.MSR, { SW_EXITINFO1: 1n, RCX: 5n, RAX: 0n, RDX: 0n }, {}],
  ])('%s', (_name, code, request, answered) => {
    const bench = vmm();
    expect(bench.event(code, request)).toBe('run');
    expect(bench.reply).toEqual([0n, 0n]);
    expect(bench.answered).toMatchObject(answered);
  });

  test('RDMSR of an unknown index with #GP', () => {
    const bench = vmm();
    bench.event(EXIT.MSR, { RCX: 5n });
    expect(bench.reply).toEqual([1n, 0x8000_0b0dn]);
  });

  test('CPUID with its own signature, and the clock of KVM', () => {
    const bench = vmm();
    const leaf = (RAX: bigint) => {
      bench.event(EXIT.CPUID, { RAX, RCX: 0n });
      return bench.answered;
    };
    const { RBX = 0n, RCX = 0n, RDX = 0n } = leaf(0x4000_0000n);
    const text = [RBX, RCX, RDX].flatMap((word) =>
      [0n, 8n, 16n, 24n].map((shift) => String.fromCharCode(Number((word >> shift) & 0xffn))),
    );
    expect(text.join('')).toBe('OpenBSDVMM58');
    expect(leaf(0x4000_0001n)).toEqual({ RAX: 0n, RBX: 0n, RCX: 0n, RDX: 0n });
    expect(leaf(0x4000_0100n).RAX).toBe(0x4000_0101n);
    expect(bench.host.reached).toEqual(['cpuid 40000000 0']);
    // The bench's leaf 40000001h has none of the clock's bits; nothing else is passed on.
    expect(leaf(0x4000_0101n)).toEqual({ RAX: 0n, RBX: 0n, RCX: 0n, RDX: 0n });
  });
});

describe('ES-21 vmm(4) ends the VM', () => {
  test('at SEV_INFO, the first word of an unmodified Linux', () => {
    const bench = vmm();
    expect(bench.request(0x002n)).toBe('terminated');
    expectEnd(bench, /^vmm\(4\) has no answer to GHCB MSR request 2h \(EINVAL\)$/);
  });

  test('at every other MSR request', () => {
    for (const request of MSR_REQUESTS.keys()) {
      if (request === 0x004 || request === 0x100) continue;
      const bench = vmm();
      expect(bench.request(BigInt(request))).toBe('terminated');
      expectEnd(bench, /no answer to GHCB MSR request .*EINVAL/);
    }
  });

  test('at every other event, MMIO and VMMCALL among them', () => {
    const others = [...GHCB_EVENTS.keys()].filter(
      (code) => ![EXIT.CPUID, EXIT.IOIO, EXIT.MSR].includes(code as 0x72),
    );
    expect(others).toContain(NAE.MMIO_READ);
    for (const code of others) {
      const bench = vmm();
      expect(bench.event(code)).toBe('terminated');
      expectEnd(bench, /no answer to GHCB event .*EINVAL/);
    }
  });

  test('at string I/O', () => {
    const bench = vmm();
    bench.event(EXIT.IOIO, {
      SW_EXITINFO1: ioInfo(0x80, 1, { string: true, rep: true }),
      SW_EXITINFO2: 1n,
      SW_SCRATCH: BigInt(AT.ghcb + GHCB.SHARED_BUFFER),
    });
    expectEnd(bench, /knows no INS and OUTS/);
  });

  test.each<[string, number, Request]>([
    ['CPUID without RCX', EXIT.CPUID, { RAX: 0n, RCX: 0n, missing: ['RCX'] }],
    ['OUT without RAX', EXIT.IOIO, { SW_EXITINFO1: ioInfo(1, 1), RAX: 0n, missing: ['RAX'] }],
    ['a GHCB without INFO2', EXIT.CPUID, { RAX: 0n, RCX: 0n, missing: ['SW_EXITINFO2'] }],
  ])('at a missing bit: %s', (_name, code, request) => {
    const bench = vmm();
    expect(bench.event(code, request)).toBe('terminated');
    expectEnd(bench, /missing input, EINVAL/);
  });

  test('ES-04 at a second GHCB', () => {
    const bench = vmm();
    bench.event(EXIT.CPUID, { RAX: 0n, RCX: 0n });
    bench.fill({ SW_EXITCODE: BigInt(EXIT.CPUID), RAX: 0n, RCX: 0n }, AT.shared);
    expect(bench.request(BigInt(AT.shared))).toBe('terminated');
    expectEnd(bench, /no second GHCB, at 8000h after 3000h/);
  });

  test('at HLT with interrupts disabled', () => {
    const bench = vmm();
    bench.state({ IF: true });
    expect(bench.exit(EXIT.HLT)).toBe('halt');
    bench.host.exits.length = 0;
    bench.state({ IF: false });
    expect(bench.exit(EXIT.HLT)).toBe('terminated');
    expectEnd(bench, /HLT with interrupts disabled \(EIO\)/);
  });

  test.each([EXIT.NMI, EXIT.PAUSE, EXIT.CR8_WRITE_TRAP])('at exit %s', (code) => {
    const bench = vmm();
    expect(bench.exit(code)).toBe('terminated');
    expectEnd(bench, /vmm\(4\) has no answer to exit/);
  });
});

describe('ES-21 vmm(4) intercepts', () => {
  test('its own events and MSRs', () => {
    const { vcpu, hypervisor } = vmm();
    const set = (code: number) => vcpu.vmcb.intercepts(code);
    expect([EXIT.CPUID, EXIT.IOIO, EXIT.RDTSCP, EXIT.CR4_WRITE_TRAP].map(set)).not.toContain(false);
    expect([EXIT.RDTSC, EXIT.WBINVD, EXIT.CR8_WRITE_TRAP, EXIT.XSETBV].map(set)).not.toContain(
      true,
    );
    expect(hypervisor.interceptsMsr('read', 0xc0010131)).toBe(false);
    expect(hypervisor.interceptsMsr('read', 0xda0)).toBe(false);
    expect(hypervisor.interceptsMsr('write', 0xda0)).toBe(true);
    expect(hypervisor.interceptsMsr('write', 0xc0000080)).toBe(false);
    expect(hypervisor.interceptsMsr('read', 0x1b)).toBe(true);
  });
});
