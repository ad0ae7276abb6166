// Automatic exits, and what the hypervisor delivers to the guest.
import { describe, expect, test } from 'vitest';
import { NAE } from '../abi/ghcb.js';
import { EVENT_TYPE, EXIT, encodeEvent, VMCB } from '../abi/vmcb.js';
import { AT, HypervisorBench } from '../testing/hypervisor-bench.js';

const interrupt = (vector: number) => ({
  vector,
  type: EVENT_TYPE.INTERRUPT,
  errorCode: null,
});
const NMI = { vector: 2, type: EVENT_TYPE.NMI, errorCode: null };

/** The processor delivers what EVENTINJ says. */
function deliver({ vcpu }: HypervisorBench) {
  const { event } = vcpu.vmcb;
  vcpu.vmcb.event = null;
  return event;
}

/** Before VMRUN and after it. */
function enter(bench: HypervisorBench) {
  bench.hypervisor.prepare(bench.vcpu);
  return deliver(bench);
}

describe('ES-14 an interrupt', () => {
  test('comes while the interrupt state says IF, its vector from the local APIC', () => {
    const bench = new HypervisorBench();
    bench.state({ IF: true });
    bench.vcpu.interrupts.push(0x31);
    expect(bench.exit(EXIT.INTR)).toBe('run');
    expect(enter(bench)).toEqual(interrupt(0x31));
    expect(bench.vcpu.vmcb.interruptWindow).toBe(false);
  });

  test.each([
    ['IF is clear', { IF: false }],
    ['a shadow is set', { IF: true, shadow: true }],
  ])('waits while %s, and a window is asked for', (_name, state) => {
    const bench = new HypervisorBench();
    bench.state(state);
    bench.vcpu.interrupts.push(0x31);
    expect(bench.exit(EXIT.INTR)).toBe('run');
    expect(enter(bench)).toBeNull();
    expect(bench.vcpu.vmcb.interruptWindow).toBe(true);
    expect(bench.vcpu.interrupts).toEqual([0x31]);

    bench.state({ IF: true });
    expect(bench.exit(EXIT.VINTR)).toBe('run');
    expect(enter(bench)).toEqual(interrupt(0x31));
    expect(bench.vcpu.vmcb.interruptWindow).toBe(false);
  });

  test('one at a time; the second gets a window', () => {
    const bench = new HypervisorBench();
    bench.state({ IF: true });
    bench.vcpu.interrupts.push(0x31, 0x32);
    expect(enter(bench)).toEqual(interrupt(0x31));
    expect(bench.vcpu.vmcb.interruptWindow).toBe(true);
  });

  test('that is withdrawn takes its window with it', () => {
    const bench = new HypervisorBench();
    bench.state({ IF: false });
    bench.vcpu.interrupts.push(0x31);
    enter(bench);
    bench.vcpu.interrupts.pop();
    enter(bench);
    expect(bench.vcpu.vmcb.interruptWindow).toBe(false);
  });

  test('whose delivery an exit cut off is delivered anew', () => {
    const bench = new HypervisorBench();
    bench.state({ IF: true });
    bench.vcpu.vmcb.setPair(VMCB.EXITINTINFO, encodeEvent(interrupt(0x41)), 0);
    bench.vcpu.interrupts.push(0x31);
    expect(enter(bench)).toEqual(interrupt(0x41));
    expect(enter(bench)).toEqual(interrupt(0x31));
  });

  test('#VC is never delivered anew, another exception is, with its error code', () => {
    const bench = new HypervisorBench();
    const exception = (vector: number) => ({ vector, type: EVENT_TYPE.EXCEPTION, errorCode: 4 });
    bench.vcpu.vmcb.setPair(VMCB.EXITINTINFO, encodeEvent(exception(29)), 4);
    expect(enter(bench)).toBeNull();
    bench.vcpu.vmcb.setPair(VMCB.EXITINTINFO, encodeEvent(exception(14)), 4);
    expect(enter(bench)).toEqual(exception(14));
  });
});

describe('ES-15 an NMI', () => {
  test('blocks the next one until NMI complete; interrupts come meanwhile', () => {
    const bench = new HypervisorBench();
    bench.state({ IF: false });
    bench.vcpu.nmis = 2;
    expect(bench.exit(EXIT.NMI)).toBe('run');
    expect(enter(bench)).toEqual(NMI);
    bench.exit(EXIT.NMI);
    expect(enter(bench)).toBeNull();
    bench.state({ IF: true });
    bench.vcpu.interrupts.push(0x31);
    expect(enter(bench)).toEqual(interrupt(0x31));
    expect(bench.event(NAE.NMI_COMPLETE)).toBe('run');
    expect(enter(bench)).toEqual(NMI);
    expect(bench.vcpu.nmis).toBe(0);
  });

  test('goes before an interrupt, and waits for the end of a shadow', () => {
    const bench = new HypervisorBench();
    bench.state({ IF: true, shadow: true });
    bench.vcpu.nmis = 1;
    bench.vcpu.interrupts.push(0x31);
    expect(enter(bench)).toBeNull();
    bench.state({ IF: true });
    expect(enter(bench)).toEqual(NMI);
    expect(bench.vcpu.vmcb.interruptWindow).toBe(true);
  });
});

describe('an automatic exit', () => {
  test.each([true, false])('HLT with IF %s sleeps and tells the host', (IF) => {
    const bench = new HypervisorBench();
    bench.state({ IF });
    expect(bench.exit(EXIT.HLT)).toBe('halt');
    expect(bench.host.exits).toMatchObject([{ kind: 'hlt', interruptible: IF }]);
  });

  test('PAUSE goes on', () => {
    expect(new HypervisorBench().exit(EXIT.PAUSE)).toBe('run');
  });

  test('SHUTDOWN is a triple fault', () => {
    const bench = new HypervisorBench();
    expect(bench.exit(EXIT.SHUTDOWN)).toBe('terminated');
    expect(bench.host.exits).toMatchObject([{ kind: 'shutdown', reason: 'triple-fault' }]);
  });

  test.each([
    ['EFER', EXIT.EFER_WRITE_TRAP, 'efer'],
    ['CR0', EXIT.CR0_WRITE_TRAP, 'cr0'],
    ['CR4', EXIT.CR4_WRITE_TRAP, 'cr4'],
    ['CR8', EXIT.CR8_WRITE_TRAP, 'cr8'],
  ] as const)('ES-13 the write trap of %s tells the new value', (_name, code, register) => {
    const bench = new HypervisorBench();
    expect(bench.vcpu.vmcb.intercepts(code)).toBe(true);
    expect(bench.exit(code, 0x8005_0033n)).toBe('run');
    expect(bench.hypervisor.controlRegisters(0)[register]).toBe(0x8005_0033);
    expect(bench.host.exits).toEqual([]);
  });

  test.each([
    ['write', 0b0_0110n],
    ['read', 0b0_0100n],
    ['execute', 0b1_0100n],
  ])('a nested page fault ends a %s with its address', (access, info) => {
    const bench = new HypervisorBench();
    expect(bench.exit(EXIT.NPF, info, BigInt(AT.rom))).toBe('terminated');
    expect(bench.host.exits).toMatchObject([
      { kind: 'memory-fault', gpa: AT.rom, access },
      { kind: 'error', code: 'emulation-failure' },
    ]);
  });

  test('INVALID ends the VM', () => {
    const bench = new HypervisorBench();
    expect(bench.exit(EXIT.INVALID)).toBe('terminated');
    expect(bench.host.exits).toMatchObject([{ kind: 'error', code: 'fail-entry' }]);
  });

  test.each([EXIT.CPUID, EXIT.IOIO, 0x7d, 0x404])('%s never comes without #VC', (code) => {
    const bench = new HypervisorBench();
    expect(bench.exit(code)).toBe('terminated');
    expect(bench.host.exits).toMatchObject([{ kind: 'error', code: 'unexpected-exit' }]);
  });

  test('each is counted', () => {
    const bench = new HypervisorBench();
    for (const code of [EXIT.INTR, EXIT.INTR, EXIT.HLT, 0x7d]) bench.exit(code);
    expect(String(bench.hypervisor.statistics.exits)).toBe('INTR 2, HLT 1, unknown 1 (7Dh)');
  });
});
