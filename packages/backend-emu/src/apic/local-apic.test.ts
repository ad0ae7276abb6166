/**
 * The local APIC by its registers and its pins: priorities, ends of interrupts, timer, IPIs,
 * x2APIC.
 */
import type { Clock, Timer } from '@cloister/core';
import * as fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { RECORD_SIZE } from '../cpu/layout.js';
import { TimeStamp } from '../timing/time-stamp.js';
import { ApicBus } from './bus.js';
import { LocalApic } from './local-apic.js';
import * as R from './registers.js';

/** A clock that a test sets by hand. */
class HandClock implements Clock {
  readonly mode = 'icount';
  readonly epochSeconds = 1_700_000_000;
  private time = 0;
  private queue: { at: number; callback: () => void }[] = [];

  now(): number {
    return this.time;
  }

  at(at: number, callback: () => void): Timer {
    const entry = { at, callback };
    this.queue.push(entry);
    return {
      cancel: () => {
        this.queue = this.queue.filter((other) => other !== entry);
      },
    };
  }

  get armed(): number {
    return this.queue.length;
  }

  /** Goes to `time`, firing what is due in order. */
  advanceTo(time: number): void {
    for (;;) {
      const due = this.queue.filter((entry) => entry.at <= time).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.queue = this.queue.filter((entry) => entry !== due);
      this.time = Math.max(this.time, due.at);
      due.callback();
    }
    this.time = time;
  }
}

class Cpu {
  readonly log: string[] = [];
  cr8 = 0;
  wake() {
    this.log.push('wake');
  }
  nmi() {
    this.log.push('nmi');
  }
  init() {
    this.log.push('init');
  }
  startup(vector: number) {
    this.log.push(`sipi ${vector}`);
  }
  taskPriority(cr8: number) {
    this.cr8 = cr8;
  }
  baseChanged() {}
}

interface Machine {
  clock: HandClock;
  bus: ApicBus;
  cpus: Cpu[];
  apics: LocalApic[];
  stamps: TimeStamp[];
}

function machine(count: number): Machine {
  const clock = new HandClock();
  const bus = new ApicBus();
  const cpus: Cpu[] = [];
  const stamps: TimeStamp[] = [];
  const apics = Array.from({ length: count }, (_, id) => {
    const cpu = new Cpu();
    const stamp = new TimeStamp(clock, new DataView(new ArrayBuffer(RECORD_SIZE)));
    const options = { id, boot: id === 0, x2apic: true, tscDeadline: true, physicalBits: 46 };
    const apic = new LocalApic(options, cpu, bus, clock, stamp);
    bus.add(apic);
    cpus.push(cpu);
    stamps.push(stamp);
    return apic;
  });
  return { clock, bus, cpus, apics, stamps };
}

function enable(apic: LocalApic): void {
  apic.mmioWrite(R.SVR, 4, 0x1ff);
}

function fixed(vector: number, level = false) {
  return { mode: R.MODE_FIXED, vector, destination: 0, logical: false, level };
}

describe('local APIC', () => {
  let vm: Machine;
  let apic: LocalApic;
  beforeEach(() => {
    vm = machine(1);
    apic = vm.apics[0]!;
    vm.cpus[0]!.log.length = 0;
  });

  it('comes out of reset disabled by software, masked, at the default address', () => {
    expect(apic.mmioBase).toBe(0xfee00000);
    expect(apic.mmioRead(R.SVR, 4)).toBe(0xff);
    expect(apic.mmioRead(R.DFR, 4)).toBe(0xffffffff);
    expect(apic.mmioRead(R.APIC_VERSION, 4)).toBe(0x50014);
    for (let offset = R.LVT_TIMER; offset <= R.LVT_ERROR; offset += 16) {
      expect(apic.mmioRead(offset, 4)).toBe(R.LVT_MASKED);
    }
    apic.readBase();
    expect(apic.lo).toBe(0xfee00900);
    apic.accept(fixed(0x40));
    expect(apic.hasInterrupt()).toBe(false);
  });

  it('delivers by priority and blocks until the end of interrupt', () => {
    enable(apic);
    apic.accept(fixed(0x41));
    apic.accept(fixed(0x52));
    expect(vm.cpus[0]!.log).toEqual(['wake']);
    expect(apic.acknowledge()).toBe(0x52);
    expect(apic.mmioRead(R.PPR, 4)).toBe(0x50);
    expect(apic.hasInterrupt()).toBe(false);
    apic.accept(fixed(0x5f));
    expect(apic.hasInterrupt()).toBe(false);
    apic.accept(fixed(0x60));
    expect(apic.acknowledge()).toBe(0x60);
    apic.mmioWrite(R.EOI, 4, 0);
    apic.mmioWrite(R.EOI, 4, 0);
    expect(apic.acknowledge()).toBe(0x5f);
    apic.mmioWrite(R.EOI, 4, 0);
    expect(apic.acknowledge()).toBe(0x41);
    expect(apic.mmioRead(R.ISR + 0x20, 4)).toBe(2);
  });

  it('is blocked by the task priority, which CR8 shows', () => {
    enable(apic);
    apic.mmioWrite(R.TPR, 4, 0x4f);
    expect(vm.cpus[0]!.cr8).toBe(4);
    apic.accept(fixed(0x4f));
    expect(apic.hasInterrupt()).toBe(false);
    apic.taskPriority = 3;
    expect(apic.mmioRead(R.TPR, 4)).toBe(0x30);
    expect(apic.acknowledge()).toBe(0x4f);
  });

  it('gives the spurious vector when the request is gone', () => {
    apic.mmioWrite(R.SVR, 4, 0x1ef);
    expect(apic.acknowledge()).toBe(0xef);
    expect(apic.mmioRead(R.ISR + 0x70, 4)).toBe(0);
  });

  it('broadcasts the end of level-triggered interrupts only', () => {
    enable(apic);
    const ended: number[] = [];
    vm.bus.onEoi((vector) => ended.push(vector));
    for (const level of [false, true]) {
      apic.accept(fixed(0x70, level));
      apic.acknowledge();
      expect(apic.mmioRead(R.TMR + 0x30, 4)).toBe(level ? 1 << 16 : 0);
      apic.mmioWrite(R.EOI, 4, 0);
    }
    expect(ended).toEqual([0x70]);
  });

  it('refuses vectors below 16 with an error interrupt, once', () => {
    enable(apic);
    apic.mmioWrite(R.LVT_ERROR, 4, 0xfe);
    apic.accept(fixed(5));
    apic.accept(fixed(5));
    expect(apic.acknowledge()).toBe(0xfe);
    expect(apic.mmioRead(R.ESR, 4)).toBe(0);
    apic.mmioWrite(R.ESR, 4, 0);
    expect(apic.mmioRead(R.ESR, 4)).toBe(R.ESR_RECEIVE_ILLEGAL);
    apic.mmioWrite(R.ICR_LOW, 4, 3 | (R.SHORTHAND_SELF << 18));
    apic.mmioWrite(R.ESR, 4, 0);
    expect(apic.mmioRead(R.ESR, 4)).toBe(R.ESR_RECEIVE_ILLEGAL | R.ESR_SEND_ILLEGAL);
    apic.mmioRead(0x3f0, 4);
    apic.mmioWrite(R.ESR, 4, 0);
    expect(apic.mmioRead(R.ESR, 4)).toBe(R.ESR_ILLEGAL_REGISTER);
  });

  it('masks every local entry while software-disabled', () => {
    enable(apic);
    apic.mmioWrite(R.LVT_TIMER, 4, 0x30);
    expect(apic.mmioRead(R.LVT_TIMER, 4)).toBe(0x30);
    apic.mmioWrite(R.SVR, 4, 0xff);
    expect(apic.mmioRead(R.LVT_TIMER, 4)).toBe(0x10030);
    apic.mmioWrite(R.LVT_TIMER, 4, 0x31);
    expect(apic.mmioRead(R.LVT_TIMER, 4)).toBe(0x10031);
  });

  it('reads parts of a register and ignores narrow writes', () => {
    enable(apic);
    apic.mmioWrite(R.TPR, 1, 0x50);
    expect(apic.mmioRead(R.TPR, 4)).toBe(0);
    expect(apic.mmioRead(R.SVR + 1, 1)).toBe(1);
    expect(apic.mmioRead(R.SVR, 2)).toBe(0x1ff);
    expect(apic.mmioRead(R.SVR + 4, 4)).toBe(0);
  });
});

describe('LINT pins', () => {
  it('pass the i8259 through in virtual wire mode and when the APIC is off', () => {
    const vm = machine(2);
    let vector = 0x20;
    vm.bus.connectExternal({ acknowledge: () => vector++ });
    vm.bus.setExternal(true);
    const apic = vm.apics[0]!;
    expect(apic.hasInterrupt()).toBe(false);
    apic.enterVirtualWire();
    expect(apic.hasInterrupt()).toBe(true);
    expect(vm.apics[1]!.hasInterrupt()).toBe(false);
    expect(apic.acknowledge()).toBe(0x20);
    vm.bus.setExternal(false);
    expect(apic.hasInterrupt()).toBe(false);
    apic.writeBase(0xfee00100, 0);
    expect(apic.enabled).toBe(false);
    vm.bus.setExternal(true);
    expect(apic.acknowledge()).toBe(0x21);
  });

  it('deliver fixed interrupts by edge, and by level until ended', () => {
    const vm = machine(1);
    const apic = vm.apics[0]!;
    enable(apic);
    apic.mmioWrite(R.LVT_LINT0, 4, 0x31);
    apic.setLint(0, true);
    expect(apic.acknowledge()).toBe(0x31);
    apic.mmioWrite(R.EOI, 4, 0);
    expect(apic.hasInterrupt()).toBe(false);
    apic.setLint(0, false);
    apic.mmioWrite(R.LVT_LINT0, 4, 0x31 | R.LVT_LEVEL);
    apic.setLint(0, true);
    expect(apic.mmioRead(R.LVT_LINT0, 4) & R.LVT_REMOTE_IRR).not.toBe(0);
    expect(apic.acknowledge()).toBe(0x31);
    apic.mmioWrite(R.EOI, 4, 0);
    expect(apic.acknowledge()).toBe(0x31);
    apic.setLint(0, false);
    apic.mmioWrite(R.EOI, 4, 0);
    expect(apic.hasInterrupt()).toBe(false);
  });

  it('turns LINT1 into NMI', () => {
    const vm = machine(1);
    const apic = vm.apics[0]!;
    apic.enterVirtualWire();
    apic.setLint(1, true);
    apic.setLint(1, true);
    expect(vm.cpus[0]!.log.filter((entry) => entry === 'nmi')).toHaveLength(1);
  });
});

describe('x2APIC', () => {
  it('is entered and left by the permitted transitions only', () => {
    const apic = machine(1).apics[0]!;
    expect(apic.readMsr(0x802)).toBe(false);
    expect(apic.writeBase(0xfee00500, 0)).toBe(false); // EXTD without EN
    expect(apic.writeBase(0xfee00d00, 0)).toBe(true);
    expect(apic.mmioBase).toBe(-1);
    expect(apic.writeBase(0xfee00900, 0)).toBe(false); // back to xAPIC
    expect(apic.writeBase(0xfee00100, 0)).toBe(true);
    expect(apic.writeBase(0xfee00d00, 0)).toBe(false); // off to x2APIC
    expect(apic.writeBase(0xfee00900, 0)).toBe(true);
    expect(apic.writeBase(0xfee00901, 0)).toBe(false);
    expect(apic.writeBase(0xfee00900, 1 << 14)).toBe(false); // beyond 46 bits
    expect(apic.writeBase(0x12345800, 3)).toBe(true);
    expect(apic.mmioBase).toBe(0x312345000);
    apic.readBase();
    expect([apic.lo, apic.hi]).toEqual([0x12345900, 3]); // BSC is kept
  });

  it('checks reserved bits and registers', () => {
    const apic = machine(3).apics[2]!;
    apic.writeBase(0xfee00c00, 0);
    expect(apic.readMsr(0x802)).toBe(true);
    expect(apic.lo).toBe(2);
    expect(apic.readMsr(0x80d)).toBe(true);
    expect(apic.lo).toBe(4);
    for (const index of [0x800, 0x80b, 0x80e, 0x831, 0x83f, 0x840, 0x8ff]) {
      expect(apic.readMsr(index), index.toString(16)).toBe(false);
    }
    expect(apic.writeMsr(0x80b, 1, 0)).toBe(false);
    expect(apic.writeMsr(0x80b, 0, 1)).toBe(false);
    expect(apic.writeMsr(0x80f, 0x11ff, 0)).toBe(false);
    expect(apic.writeMsr(0x832, 0x200, 0)).toBe(false);
    expect(apic.writeMsr(0x802, 0, 0)).toBe(false);
    expect(apic.writeMsr(0x828, 1, 0)).toBe(false);
    expect(apic.writeMsr(0x830, 0x100000, 0)).toBe(false);
    expect(apic.writeMsr(0x80f, 0x1ff, 0)).toBe(true);
    expect(apic.writeMsr(0x83f, 0x45, 0)).toBe(true);
    expect(apic.acknowledge()).toBe(0x45);
  });
});

describe('the timer', () => {
  it('counts down once and then rests', () => {
    const { apics, clock } = machine(1);
    const apic = apics[0]!;
    enable(apic);
    apic.mmioWrite(R.LVT_TIMER, 4, 0x40);
    apic.mmioWrite(R.TIMER_DIVIDE, 4, 3); // by 16
    apic.mmioWrite(R.TIMER_INITIAL, 4, 100);
    clock.advanceTo(160);
    expect(apic.mmioRead(R.TIMER_CURRENT, 4)).toBe(90);
    clock.advanceTo(1599);
    expect(apic.hasInterrupt()).toBe(false);
    clock.advanceTo(1600);
    expect(apic.acknowledge()).toBe(0x40);
    expect(apic.mmioRead(R.TIMER_CURRENT, 4)).toBe(0);
    expect(clock.armed).toBe(0);
  });

  it('does not begin again when the divisor grows after the end', () => {
    const { apics, clock } = machine(1);
    const apic = apics[0]!;
    enable(apic);
    apic.mmioWrite(R.LVT_TIMER, 4, 0x40);
    apic.mmioWrite(R.TIMER_DIVIDE, 4, 0xb); // by 1
    apic.mmioWrite(R.TIMER_INITIAL, 4, 100);
    clock.advanceTo(150);
    expect(apic.acknowledge()).toBe(0x40);
    apic.mmioWrite(R.TIMER_DIVIDE, 4, 0xa); // by 128
    expect(apic.mmioRead(R.TIMER_CURRENT, 4)).toBe(0);
    apic.mmioWrite(R.LVT_TIMER, 4, 0x41);
    expect(clock.armed).toBe(0);
  });

  it('repeats, needs no event while masked, and stops at zero', () => {
    const { apics, clock } = machine(1);
    const apic = apics[0]!;
    enable(apic);
    apic.mmioWrite(R.LVT_TIMER, 4, 0x40 | R.TIMER_PERIODIC);
    apic.mmioWrite(R.TIMER_DIVIDE, 4, 0xb);
    apic.mmioWrite(R.TIMER_INITIAL, 4, 1000);
    for (const at of [1000, 2000, 3000]) {
      clock.advanceTo(at - 1);
      expect(apic.hasInterrupt()).toBe(false);
      clock.advanceTo(at);
      expect(apic.acknowledge()).toBe(0x40);
      apic.mmioWrite(R.EOI, 4, 0);
    }
    apic.mmioWrite(R.LVT_TIMER, 4, 0x40 | R.TIMER_PERIODIC | R.LVT_MASKED);
    expect(clock.armed).toBe(0);
    clock.advanceTo(4250);
    expect(apic.mmioRead(R.TIMER_CURRENT, 4)).toBe(750);
    apic.mmioWrite(R.LVT_TIMER, 4, 0x40 | R.TIMER_PERIODIC);
    clock.advanceTo(5000);
    expect(apic.acknowledge()).toBe(0x40);
    apic.mmioWrite(R.TIMER_INITIAL, 4, 0);
    expect(clock.armed).toBe(0);
  });

  it('fires at a TSC deadline, which moves with the TSC', () => {
    const { apics, clock, stamps } = machine(1);
    const apic = apics[0]!;
    enable(apic);
    apic.timer.writeDeadline(500, 0);
    expect(clock.armed).toBe(0); // not in deadline mode
    apic.mmioWrite(R.LVT_TIMER, 4, 0x40 | R.TIMER_DEADLINE);
    apic.timer.writeDeadline(500, 0);
    clock.advanceTo(100);
    stamps[0]!.write(400, 0);
    clock.advanceTo(199);
    expect(apic.hasInterrupt()).toBe(false);
    clock.advanceTo(200);
    expect(apic.acknowledge()).toBe(0x40);
    const deadline = { lo: 1, hi: 1 };
    apic.timer.readDeadline(deadline);
    expect(deadline).toEqual({ lo: 0, hi: 0 });
    apic.mmioWrite(R.EOI, 4, 0);
    apic.timer.writeDeadline(1, 0); // long past: at once
    clock.advanceTo(200);
    expect(apic.hasInterrupt()).toBe(true);
    apic.timer.writeDeadline(0xffffffff, 0xffffffff);
    expect(clock.armed).toBe(0);
  });
});

describe('the bus', () => {
  it('finds physical, flat and cluster destinations', () => {
    const { apics, bus } = machine(4);
    for (const [index, apic] of apics.entries()) {
      enable(apic);
      apic.mmioWrite(R.LDR, 4, (1 << index) << 24);
    }
    const receivers = (address: number) => {
      bus.sendMsi(address, 0x55);
      return apics.flatMap((apic, index) => {
        if (!apic.hasInterrupt()) return [];
        apic.acknowledge();
        apic.mmioWrite(R.EOI, 4, 0);
        return [index];
      });
    };
    expect(receivers(0xfee02000)).toEqual([2]);
    expect(receivers(0xfeeff000)).toEqual([0, 1, 2, 3]);
    expect(receivers(0xfee0a004)).toEqual([1, 3]);
    expect(receivers(0xfee0a00c)).toEqual([1]); // redirection hint: one of them
    apics[1]!.mmioWrite(R.TPR, 4, 0x20);
    expect(receivers(0xfee0a00c)).toEqual([3]);
    for (const [index, apic] of apics.entries()) {
      apic.mmioWrite(R.DFR, 4, 0);
      apic.mmioWrite(R.LDR, 4, (((index >> 1) << 4) | (1 << (index & 1))) << 24);
    }
    expect(receivers(0xfee13004)).toEqual([2, 3]);
    expect(receivers(0xfee01004)).toEqual([0]);
    const before = bus.lost;
    expect(receivers(0xfed02000)).toEqual([]);
    expect(receivers(0xfee09000)).toEqual([]);
    expect(bus.lost).toBe(before + 2);
  });

  it('carries INIT, SIPI, NMI and shorthands', () => {
    const { apics, cpus } = machine(3);
    for (const cpu of cpus) cpu.log.length = 0;
    const from = apics[0]!;
    from.mmioWrite(R.ICR_HIGH, 4, 1 << 24);
    from.mmioWrite(R.ICR_LOW, 4, 0xc500);
    from.mmioWrite(R.ICR_LOW, 4, 0x8500); // de-assert: nothing
    from.mmioWrite(R.ICR_LOW, 4, 0x469a);
    from.mmioWrite(R.ICR_LOW, 4, 0xc0400 | 0x4000);
    expect(cpus.map((cpu) => cpu.log)).toEqual([[], ['init', 'sipi 154', 'nmi'], ['nmi']]);
    for (const cpu of cpus) cpu.log.length = 0;
    from.mmioWrite(R.ICR_LOW, 4, 0x80000 | 0x4500);
    expect(cpus.map((cpu) => cpu.log)).toEqual([[], ['init'], ['init']]);
    for (const apic of apics) enable(apic);
    from.mmioWrite(R.ICR_LOW, 4, 0x80000 | 0x77);
    expect(apics.map((apic) => apic.hasInterrupt())).toEqual([true, true, true]);
  });

  it('sends x2APIC commands to 32-bit physical and cluster destinations', () => {
    const { apics } = machine(20);
    for (const apic of apics) {
      apic.writeBase(0xfee00c00, 0);
      apic.writeMsr(0x80f, 0x1ff, 0);
    }
    const receivers = (lo: number, hi: number) => {
      expect(apics[0]!.writeMsr(0x830, lo, hi)).toBe(true);
      return apics.flatMap((apic, index) => {
        if (!apic.hasInterrupt()) return [];
        apic.acknowledge();
        apic.writeMsr(0x80b, 0, 0);
        return [index];
      });
    };
    expect(receivers(0x40, 17)).toEqual([17]);
    expect(receivers(0x40, 0xff)).toEqual([]);
    expect(receivers(0x840, 0x0001000a)).toEqual([17, 19]);
    expect(receivers(0x40, 0xffffffff)).toHaveLength(20);
    expect(receivers(0xc0040, 0)).toHaveLength(19);
  });

  it('delivers an ExtINT message of an IOAPIC', () => {
    const { apics, bus } = machine(1);
    bus.connectExternal({ acknowledge: () => 0x28 });
    enable(apics[0]!);
    bus.sendMsi(0xfee00000, 0x700);
    expect(apics[0]!.acknowledge()).toBe(0x28);
    expect(apics[0]!.hasInterrupt()).toBe(false);
  });
});

describe('snapshot', () => {
  it('keeps a running timer and what is in service', () => {
    const one = machine(1);
    enable(one.apics[0]!);
    one.apics[0]!.mmioWrite(R.LVT_TIMER, 4, 0x40 | R.TIMER_PERIODIC);
    one.apics[0]!.mmioWrite(R.TIMER_INITIAL, 4, 500);
    one.apics[0]!.accept(fixed(0x33));
    one.apics[0]!.acknowledge();
    one.apics[0]!.accept(fixed(0x91));
    const saved = one.apics[0]!.snapshot();
    const two = machine(1);
    two.apics[0]!.restore(saved);
    expect(two.apics[0]!.snapshot()).toEqual(saved);
    expect(two.apics[0]!.acknowledge()).toBe(0x91);
    two.apics[0]!.mmioWrite(R.EOI, 4, 0);
    two.clock.advanceTo(1000);
    expect(two.apics[0]!.acknowledge()).toBe(0x40);
    const bad = { ...saved, version: 2 };
    expect(() => two.apics[0]!.restore(bad)).toThrow(/local APIC/);
  });
});

describe('a snapshot of another kind', () => {
  it.each([
    { initial: -1 },
    { initial: 0.001 },
    { initial: 2 ** 32 },
    { divide: 16 },
    { deadlineHi: -1 },
    { start: Number.NaN },
    { start: 2 ** 60 },
  ])('is refused: a timer with %o', (change) => {
    const apic = machine(1).apics[0]!;
    const saved = apic.snapshot();
    const { timer, ...rest } = saved.state as { timer: object };
    const state = { ...rest, timer: { ...timer, ...change } };
    expect(() => apic.restore({ ...saved, state })).toThrow(/local APIC/);
    expect(apic.snapshot()).toEqual(saved);
  });
});

describe('any guest', () => {
  it('never makes it throw, and cached state stays true to the registers', () => {
    const offsets = fc.integer({ min: 0, max: 0xff }).map((slot) => slot * 16);
    const step = fc.oneof(
      fc.record({ kind: fc.constant('mmio'), a: offsets, b: fc.nat(0xffffffff) }),
      fc.record({ kind: fc.constant('msr'), a: fc.nat(0x3f), b: fc.nat(0xffffffff) }),
      fc.record({ kind: fc.constant('base'), a: fc.nat(3), b: fc.nat(0xffff) }),
      fc.record({ kind: fc.constant('msi'), a: fc.nat(0xfffff), b: fc.nat(0xffff) }),
      fc.record({ kind: fc.constant('time'), a: fc.nat(5000), b: fc.nat() }),
      fc.record({ kind: fc.constant('take'), a: fc.nat(), b: fc.nat() }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { apics, bus, clock } = machine(2);
        const apic = apics[0]!;
        enable(apic);
        for (const { kind, a, b } of steps) {
          if (kind === 'mmio') {
            apic.mmioWrite(a, 4, b);
            apic.mmioRead(a, 4);
          } else if (kind === 'msr') {
            apic.writeMsr(0x800 + a, b, 0);
            apic.readMsr(0x800 + a);
          } else if (kind === 'base') apic.writeBase((a << 10) | (b << 16), 0);
          else if (kind === 'msi') bus.sendMsi(0xfee00000 + a, b);
          else if (kind === 'time') clock.advanceTo(clock.now() + a);
          else if (apic.hasInterrupt()) expect(apic.acknowledge()).toBeGreaterThanOrEqual(16);
        }
        const copy = machine(2).apics[0]!;
        copy.restore(apic.snapshot());
        expect(copy.hasInterrupt()).toBe(apic.hasInterrupt());
      }),
    );
  });
});
