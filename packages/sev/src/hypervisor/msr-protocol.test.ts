// The MSR protocol: every request and its response.
import { describe, expect, test } from 'vitest';
import { GHCB_MSR } from '../abi/ghcb.js';
import { HypervisorBench } from '../testing/hypervisor-bench.js';
import { MSR_REQUESTS } from './msr-protocol.js';

const NO_FRAME = 0xffff_ffff_ffff_f000n;

test('what the MSR holds after reset is the response to SEV_INFO', () => {
  expect(new HypervisorBench().msr).toBe(0x0002_0001_3300_0001n);
});

describe('ES-05 a request has its response', () => {
  test.each([
    ['SEV_INFO', 0x002n, 0x0002_0001_3300_0001n],
    ['CPUID, EAX', 0x8000_001f_0000_0004n, 0x8000_001f_0000_0005n],
    ['CPUID, EBX', 0x0000_0001_4000_0004n, 0x0000_0000_4000_0005n],
    ['CPUID, ECX', 0x0000_0001_8000_0004n, 0x0000_0000_8000_0005n],
    ['CPUID, EDX', 0x0000_0001_c000_0004n, 0x0000_0001_c000_0005n],
    ['CPUID with reserved bits', 0x0000_0007_3fff_f004n, 0x0000_0007_0000_0005n],
    ['the preferred GHCB', 0x010n, NO_FRAME | 0x011n],
    ['registration of a GHCB', 0x12_3456_7012n, NO_FRAME | 0x013n],
    ['page state change', 0x0010_0000_1234_5014n, 0x1_0000_0015n],
    ['another VMPL', 0x1_0000_0016n, 0x1_0000_0017n],
    ['hypervisor features', 0x080n, 0x081n],
  ])('%s', (_name, request, response) => {
    const bench = new HypervisorBench();
    expect(bench.request(request)).toBe('run');
    expect(bench.msr).toBe(response);
    expect(bench.host.exits).toEqual([]);
  });

  test('AP reset hold: the response waits for a SIPI', () => {
    const bench = new HypervisorBench();
    expect(bench.request(0x006n)).toBe('reset-hold');
    expect(bench.msr).toBe(0x007n);
    expect(bench.hypervisor.startup(bench.vcpu)).toBe('run');
    expect(bench.msr & 0xfffn).toBe(0x007n);
    expect(bench.msr >> 12n).not.toBe(0n);
  });

  test.each([
    [0x100n, '0:0 (general: general termination request)'],
    [0x1_0100n, '0:1 (general: protocol versions of guest and hypervisor do not meet)'],
    [0x4_1100n, '1:4 (Linux: CPUID page is unusable)'],
    [0xff_1100n, '1:255 (Linux: unnamed reason)'],
    [0x12_f100n, '15:18'],
  ])('ES-12 termination %s', (request, words) => {
    const bench = new HypervisorBench();
    expect(bench.request(request)).toBe('terminated');
    const message = `the guest terminated itself: ${words}`;
    const data = [Number(request)];
    expect(bench.host.exits).toEqual([
      { kind: 'system-event', vcpu: 0, instructions: -1, event: 'sev-term', data, message },
    ]);
    expect(bench.hypervisor.summary()).toContain(message);
  });

  test('whatever is unknown ends the VM with the reason', () => {
    const bench = new HypervisorBench();
    const wrong: number[] = [];
    for (let request = 1; request < 0x1000; request++) {
      if (MSR_REQUESTS.has(request)) continue;
      const next = bench.request(BigInt(request));
      const exit = bench.host.exits.pop();
      const words = `no answer to GHCB MSR request ${request.toString(16).toUpperCase()}h`;
      const said = exit?.kind === 'error' && exit.message === `Linux/KVM has ${words}`;
      if (next !== 'terminated' || !said) wrong.push(request);
    }
    expect(wrong).toEqual([]);
  });

  test('with version 1 SEV_INFO says so, and requests of version 2 are unknown', () => {
    for (const [number, { since }] of MSR_REQUESTS) {
      const bench = new HypervisorBench({ ghcbVersion: 1 });
      expect(bench.msr).toBe(0x0001_0001_3300_0001n);
      bench.request(BigInt(number));
      const [exit] = bench.host.exits;
      expect(exit?.kind === 'error' ? exit.code : 'answered').toBe(
        since === 1 ? 'answered' : 'ghcb-msr-request',
      );
    }
  });

  test('each is counted', () => {
    const bench = new HypervisorBench();
    for (const request of MSR_REQUESTS.keys()) bench.request(BigInt(request));
    bench.request(0x002n);
    const { requests } = bench.hypervisor.statistics;
    expect(requests.of(GHCB_MSR.SEV_INFO_REQUEST)).toBe(2);
    expect(String(requests)).toMatch(
      /^SEV_INFO_REQUEST 2, CPUID_REQUEST 1, .*TERMINATE_REQUEST 1$/,
    );
  });
});
