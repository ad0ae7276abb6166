/** MSRs: EFER, addresses, time and the paravirtual ones. */
import type { Clock, DmaView, MsrValue } from '@cloister/core';
import { msr as I, selectCpu } from '@cloister/core/cpu';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ApicBus } from '../apic/bus.js';
import * as L from '../cpu/layout.js';
import { KvmClockGroup } from '../paravirt/kvm-clock.js';
import { VcpuServices } from './vcpu-services.js';

class FlatMemory implements Pick<DmaView, 'read' | 'write'> {
  readonly bytes = new Uint8Array(0x3000);
  read(gpa: number, target: Uint8Array): boolean {
    if (gpa + target.length > this.bytes.length) return false;
    target.set(this.bytes.subarray(gpa, gpa + target.length));
    return true;
  }
  write(gpa: number, source: Uint8Array): boolean {
    if (gpa + source.length > this.bytes.length) return false;
    this.bytes.set(source, gpa);
    return true;
  }
  get view(): DataView {
    return new DataView(this.bytes.buffer);
  }
}

function machine(features = '', cpus = 1) {
  const time = { now: 0 };
  const clock: Clock = {
    mode: 'icount',
    now: () => time.now,
    at: () => ({ cancel: () => {} }),
    epochSeconds: 1_700_000_000.25,
  };
  const memory = new FlatMemory();
  const shared = {
    cpu: selectCpu(features),
    cpus,
    clock,
    memory,
    bus: new ApicBus(),
    kvmClocks: new KvmClockGroup(),
    extensions: [],
  };
  const log: string[] = [];
  const note = (word: string) => () => {
    log.push(word);
  };
  const vcpus = Array.from({ length: cpus }, (_, index) => {
    const view = new DataView(new ArrayBuffer(L.RECORD_SIZE));
    const cpu = {
      wake: note('wake'),
      nmi: note('nmi'),
      init: note('init'),
      startup: note('startup'),
      taskPriority: () => {},
      baseChanged: () => {},
      eferChanged: (changed: number) => log.push(`efer ${changed.toString(16)}`),
      segmentBaseChanged: note('segment'),
      branchStep: (on: boolean) => log.push(`btf ${on}`),
      unknownMsr: (direction: 'read' | 'write', msr: number, value: MsrValue) => {
        log.push(`${direction} ${msr.toString(16)}`);
        value.lo = 7;
        return msr === 0x1234;
      },
    };
    return { view, services: new VcpuServices(shared, { index, view, cpu, vcpu: null }) };
  });
  log.length = 0;
  return { time, memory, log, vcpus, shared, view: vcpus[0]!.view, services: vcpus[0]!.services };
}

function read(services: VcpuServices, index: number): [number, number] | 'gp' {
  const { msrs } = services;
  return msrs.read(index) ? [msrs.lo, msrs.hi] : 'gp';
}

describe('EFER', () => {
  it('takes its known bits, and refuses to change LMA, or LME while paging', () => {
    const { services, view, log } = machine();
    const { msrs } = services;
    expect(msrs.write(I.EFER, 0xd01, 0)).toBe(false);
    expect(msrs.write(I.EFER, 0x901, 0)).toBe(true);
    expect(read(services, I.EFER)).toEqual([0x901, 0]);
    expect(log).toEqual(['efer 901']);
    view.setUint32(L.CR0, 0x80000001, true);
    view.setUint32(L.EFER, 0xd01, true);
    expect(msrs.write(I.EFER, 0x801, 0)).toBe(false);
    expect(msrs.write(I.EFER, 0x901, 0)).toBe(false);
    expect(msrs.write(I.EFER, 0xd01, 0)).toBe(true);
    expect(read(services, I.EFER)).toEqual([0xd01, 0]);
    expect(log).toEqual(['efer 901']);
    expect(msrs.write(I.EFER, 0x200d01, 0)).toBe(true); // AIBRSE
    for (const bit of [1, 9, 12, 13, 14, 15, 18, 20, 22, 31]) {
      expect(msrs.write(I.EFER, (0xd01 | (1 << bit)) >>> 0, 0), `bit ${bit}`).toBe(false);
    }
    expect(msrs.write(I.EFER, 0xd01, 1)).toBe(false);
    expect(machine(',-nx').services.msrs.write(I.EFER, 0x800, 0)).toBe(false);
  });
});

describe('address registers', () => {
  it.each([I.LSTAR, I.CSTAR, I.FS_BASE, I.GS_BASE, I.KERNEL_GS_BASE])(
    '%i must be canonical',
    (index) => {
      const { services } = machine();
      const { msrs } = services;
      expect(msrs.write(index, 0x12345678, 0xffff8000)).toBe(true);
      expect(read(services, index)).toEqual([0x12345678, 0xffff8000]);
      expect(msrs.write(index, 0xffffffff, 0x7fff)).toBe(true);
      expect(msrs.write(index, 0, 0x8000)).toBe(false);
      expect(msrs.write(index, 0, 0xffff7fff)).toBe(false);
      expect(read(services, index)).toEqual([0xffffffff, 0x7fff]);
    },
  );

  it('lie in the record', () => {
    const { services, view, log } = machine();
    services.msrs.write(I.FS_BASE, -1, -1);
    expect(view.getBigUint64(L.segmentOffset(L.SEG.fs), true)).toBe(2n ** 64n - 1n);
    expect(log).toEqual(['segment']);
    services.msrs.write(I.STAR, 1, 0x230010);
    expect(view.getUint32(L.STAR + 4, true)).toBe(0x230010);
    services.msrs.write(I.SYSENTER_EIP, 0x80000000, 0xffffffff);
    expect(read(services, I.SYSENTER_EIP)).toEqual([0x80000000, 0]);
    services.msrs.write(I.TSC_AUX, 3, 9);
    expect(view.getBigUint64(L.TSC_AUX, true)).toBe(3n);
  });
});

describe('time', () => {
  it('writes and adjusts the TSC modulo 2^64', () => {
    const { services, time, view } = machine();
    const { msrs } = services;
    time.now = 5_000_000_000;
    expect(read(services, I.TSC)).toEqual([705_032_704, 1]);
    msrs.write(I.TSC, 10, 0);
    expect(read(services, I.TSC)).toEqual([10, 0]);
    expect(view.getBigInt64(L.TSC_OFFSET, true)).toBe(-4_999_999_990n);
    time.now += 5;
    expect(read(services, I.TSC)).toEqual([15, 0]);
    msrs.write(I.TSC_ADJUST, 0, 0);
    expect(read(services, I.TSC)).toEqual([705_032_709, 1]);
    msrs.write(I.TSC_ADJUST, 0xffffffff, 0xffffffff);
    expect(read(services, I.TSC)).toEqual([705_032_708, 1]);
    expect(read(services, I.TSC_ADJUST)).toEqual([0xffffffff, 0xffffffff]);
  });

  it('agrees with 64-bit arithmetic for any value', () => {
    const word = fc.nat(0xffffffff);
    fc.assert(
      fc.property(word, word, fc.nat(2 ** 45), fc.nat(2 ** 45), (lo, hi, at, later) => {
        const { services, time } = machine();
        time.now = at;
        services.msrs.write(I.TSC, lo, hi);
        time.now = at + later;
        const expected = BigInt.asUintN(64, ((BigInt(hi) << 32n) | BigInt(lo)) + BigInt(later));
        services.tsc.read();
        expect((BigInt(services.tsc.hi) << 32n) | BigInt(services.tsc.lo)).toBe(expected);
        expect(services.tsc.until(services.tsc.lo, services.tsc.hi)).toBe(0);
      }),
    );
  });

  it('keeps the kvmclock page true over a change of the TSC', () => {
    const { time, memory, vcpus } = machine('', 2);
    const [one, two] = vcpus.map(({ services }) => services);
    time.now = 1000;
    one!.msrs.write(I.KVM_SYSTEM_TIME, 0x1001, 0);
    two!.msrs.write(I.KVM_SYSTEM_TIME, 0x1041, 0);
    const clockAt = (base: number) => {
      const { view } = memory;
      expect(view.getUint32(base, true) % 2).toBe(0);
      const services = base === 0x1000 ? one! : two!;
      services.tsc.read();
      const tsc = (BigInt(services.tsc.hi) << 32n) | BigInt(services.tsc.lo);
      const delta = tsc - view.getBigUint64(base + 8, true);
      const multiplier = BigInt(view.getUint32(base + 24, true));
      const scaled = ((delta << BigInt(view.getInt8(base + 28))) * multiplier) >> 32n;
      return Number(view.getBigUint64(base + 16, true) + scaled);
    };
    time.now = 123_456_789_012;
    expect(clockAt(0x1000)).toBe(time.now);
    expect(memory.bytes[0x101d]).toBe(1);
    one!.msrs.write(I.TSC, 0, 0);
    expect(memory.bytes[0x101d]).toBe(0);
    expect(memory.bytes[0x105d]).toBe(0);
    time.now += 77;
    expect(clockAt(0x1000)).toBe(time.now);
    expect(clockAt(0x1040)).toBe(time.now);
    two!.msrs.write(I.TSC_ADJUST, -123_456_789_012 & 0xffffffff, -29);
    expect(memory.bytes[0x105d]).toBe(1);
  });

  it('writes the wall clock once, and survives an address without memory', () => {
    const { services, memory } = machine();
    services.msrs.write(I.KVM_WALL_CLOCK_OLD, 0x2000, 0);
    expect(memory.view.getUint32(0x2004, true)).toBe(1_700_000_000);
    expect(memory.view.getUint32(0x2008, true)).toBe(250_000_000);
    expect(services.msrs.write(I.KVM_WALL_CLOCK, 0xfffff000, 0xffffffff)).toBe(true);
    expect(services.msrs.write(I.KVM_SYSTEM_TIME, 0xfffff001, 0xffffffff)).toBe(true);
    expect(read(services, I.KVM_SYSTEM_TIME)).toEqual([0xfffff001, 0xffffffff]);
  });
});

describe('paravirtual end of interrupt', () => {
  function setUp() {
    const vm = machine();
    vm.services.apic.mmioWrite(0xf0, 4, 0x1ff);
    vm.services.msrs.write(I.KVM_PV_EOI, 0x501, 0);
    const send = (vector: number, level = false) =>
      vm.services.apic.accept({ mode: 0, vector, destination: 0, logical: false, level });
    return { ...vm, apic: vm.services.apic, send };
  }

  it('is taken when the guest clears the bit', () => {
    const { apic, send, memory } = setUp();
    send(0x50);
    expect(apic.acknowledge()).toBe(0x50);
    expect(memory.bytes[0x500]).toBe(1);
    memory.bytes[0x500] = 0;
    send(0x31); // lower: deliverable only because 0x50 was ended
    expect(apic.acknowledge()).toBe(0x31);
  });

  it('is withdrawn when something else arrives first', () => {
    const { apic, send, memory } = setUp();
    send(0x50);
    apic.acknowledge();
    send(0x31);
    expect(memory.bytes[0x500]).toBe(0);
    expect(apic.hasInterrupt()).toBe(false);
    apic.mmioWrite(0xb0, 4, 0);
    expect(apic.acknowledge()).toBe(0x31);
  });

  it('is not offered for level-triggered interrupts or while others wait', () => {
    const { apic, send, memory } = setUp();
    send(0x50, true);
    apic.acknowledge();
    expect(memory.bytes[0x500]).toBe(0);
    apic.mmioWrite(0xb0, 4, 0);
    send(0x50);
    send(0x31);
    apic.acknowledge();
    expect(memory.bytes[0x500]).toBe(0);
  });

  it('ends the interrupt before the register moves', () => {
    const { apic, send, memory, services } = setUp();
    send(0x50);
    apic.acknowledge();
    expect(services.msrs.write(I.KVM_PV_EOI, 0x602, 0)).toBe(false);
    send(0x51);
    memory.bytes[0x500] = 0;
    services.msrs.write(I.KVM_PV_EOI, 0, 0);
    expect(apic.mmioRead(0xa0, 4)).toBe(0x50); // withdrawn by 0x51 before: a real EOI is due
    apic.mmioWrite(0xb0, 4, 0);
    expect(apic.acknowledge()).toBe(0x51);
    expect(memory.bytes[0x500]).toBe(0);
  });
});

describe('configuration registers', () => {
  it('check their reserved bits', () => {
    const { services, log } = machine();
    const { msrs } = services;
    expect(read(services, I.PAT)).toEqual([0x00070406, 0x00070406]);
    expect(msrs.write(I.PAT, 0x00070106, 0x05060704)).toBe(true);
    expect(msrs.write(I.PAT, 0x00070206, 0)).toBe(false);
    expect(msrs.write(I.PAT, 0, 0x08000000)).toBe(false);
    expect(read(services, I.PAT)).toEqual([0x00070106, 0x05060704]);
    expect(msrs.write(I.DEBUG_CTL, 3, 0)).toBe(true);
    expect(read(services, I.DEBUG_CTL)).toEqual([2, 0]);
    expect(log).toEqual(['btf true']);
    expect(msrs.write(I.DEBUG_CTL, 0x40, 0)).toBe(false);
    expect(read(services, I.HWCR)).toEqual([1 << 24, 0]);
    expect(msrs.write(I.HWCR, 1, 0)).toBe(false);
    expect(read(services, I.DE_CFG)).toEqual([2, 0]);
    expect(read(services, I.VM_CR)).toEqual([0x18, 0]);
    expect(read(services, I.SYSCFG)).toEqual([0, 0]);
    expect(read(services, I.PATCH_LEVEL)).toEqual([0x0a0011ff, 0]);
    expect(msrs.write(I.PATCH_LEVEL, 0, 0)).toBe(false);
  });

  it('exist only with their feature', () => {
    const { services } = machine();
    expect(read(services, I.SPEC_CTRL)).toBe('gp');
    expect(services.msrs.write(I.PRED_CMD, 1, 0)).toBe(false);
    const more = machine(',+ibpb,+ssbd').services;
    expect(more.msrs.write(I.SPEC_CTRL, 4, 0)).toBe(true);
    expect(more.msrs.write(I.SPEC_CTRL, 1, 0)).toBe(false);
    expect(more.msrs.write(I.PRED_CMD, 1, 0)).toBe(true);
    expect(read(more, I.PRED_CMD)).toBe('gp');
    expect(read(machine(',-tsc_deadline').services, I.TSC_DEADLINE)).toBe('gp');
    expect(read(machine(',-kvmclock').services, I.KVM_SYSTEM_TIME_OLD)).toBe('gp');
  });

  it('ask the last resort for unknown ones and count refusals', () => {
    const { services, log } = machine();
    for (const index of [0xc0010000, 0xc0010200, 0x186, 0x17b, 0x179, 0x4b564d02, 0x1a0]) {
      expect(read(services, index), index.toString(16)).toBe('gp');
    }
    expect(services.msrs.refused).toBe(7);
    expect(log[0]).toBe('read c0010000');
    expect(read(services, 0x1234)).toEqual([7, 0]);
    expect(services.msrs.write(0x1234, 1, 2)).toBe(true);
    expect(services.msrs.refused).toBe(7);
  });
});

describe('vCPU services', () => {
  it('answer extensions before the table', () => {
    const vm = machine();
    const written: number[] = [];
    const extension = {
      name: 'test',
      msrs: [0xc0010131, I.PAT],
      readMsr: (_index: number, value: MsrValue) => {
        value.lo = 5;
        return 'ok' as const;
      },
      writeMsr: (_index: number, value: MsrValue) => {
        written.push(value.lo);
        return 'gp' as const;
      },
    };
    const shared = { ...vm.shared, bus: new ApicBus(), extensions: [extension] };
    const quiet = () => {};
    const cpu = {
      wake: quiet,
      nmi: quiet,
      init: quiet,
      startup: quiet,
      taskPriority: quiet,
      baseChanged: quiet,
      eferChanged: quiet,
      segmentBaseChanged: quiet,
      branchStep: quiet,
      unknownMsr: () => false,
    };
    const view = new DataView(new ArrayBuffer(L.RECORD_SIZE));
    const services = new VcpuServices(shared, { index: 0, view, cpu, vcpu: {} as never });
    expect(read(services, 0xc0010131)).toEqual([5, 0]);
    expect(read(services, I.PAT)).toEqual([5, 0]);
    expect(services.msrs.write(I.PAT, 6, 0)).toBe(false);
    expect(written).toEqual([6]);
  });

  it('save and restore what the record does not hold', () => {
    const one = machine().services;
    one.msrs.write(I.PAT, 0x00070106, 0x00070106);
    one.msrs.write(I.KVM_SYSTEM_TIME, 0x1001, 0);
    one.msrs.write(I.KVM_PV_EOI, 0x501, 0);
    one.msrs.write(I.APIC_BASE, 0xfee00d00, 0);
    const saved = one.snapshot();
    const two = machine().services;
    two.restore(saved);
    expect(two.snapshot()).toEqual(saved);
    expect(read(two, I.KVM_PV_EOI)).toEqual([0x501, 0]);
    expect(two.apic.isX2apic).toBe(true);
    two.reset();
    expect(read(two, I.PAT)).toEqual([0x00070406, 0x00070406]);
    expect(read(two, I.APIC_BASE)).toEqual([0xfee00900, 0]);
    expect(() => two.restore({ ...saved, state: { kvmClock: [] } })).toThrow(/vCPU services/);
  });

  it('never throw on any MSR access', () => {
    const { services } = machine(',+ibpb,+ibrs');
    const known = services.msrs.list().map(([index]) => index);
    const index = fc.oneof(
      fc.constantFrom(...known),
      fc.integer({ min: 0x800, max: 0x8ff }),
      fc.nat(0xffffffff),
    );
    fc.assert(
      fc.property(index, fc.integer(), fc.integer(), (msr, lo, hi) => {
        services.msrs.write(msr, lo, hi);
        services.msrs.read(msr);
        expect(services.msrs.lo >>> 0).toBe(services.msrs.lo);
        expect(services.msrs.hi >>> 0).toBe(services.msrs.hi);
      }),
      { numRuns: 2000 },
    );
  });
});
