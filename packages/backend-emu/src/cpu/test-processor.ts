/**
 * A processor with everything it needs, for tests of system functions: 2 MiB of memory, descriptor
 * tables, page tables, and a sink that keeps copies of exits.
 */
import type { Clock, CpuExtension, VmExit } from '@cloister/core';
import { selectCpu } from '@cloister/core/cpu';
import { ApicBus } from '../apic/bus.js';
import { ExtensionSet } from '../extension/extension-set.js';
import { PhysicalMemory } from '../mmu/physical.js';
import { VcpuServices } from '../msr/vcpu-services.js';
import { KvmClockGroup } from '../paravirt/kvm-clock.js';
import { systemFunctions } from '../system/functions.js';
import type { Outcome } from '../system/outcome.js';
import * as L from './layout.js';
import { Processor } from './processor.js';

export const RAM_BASE = 0x180000;
export const RAM_SIZE = 0x200000;
/** Pages that the tables for emitted code have, where there are such. */
export const LOW_PAGES = 4096;

/** Guest addresses of what `longMode` and `protectedMode` set up; all identity-mapped. */
export const AT = {
  gdt: 0x1000,
  idt: 0x2000,
  tss: 0x3000,
  ldt: 0x3800,
  code: 0x4000,
  userCode: 0x5000,
  handlers: 0x6000,
  stack: 0x9000,
  kernelStack: 0xb000,
  istStack: 0xd000,
  tables: 0x10000,
} as const;

/** Selectors of the GDT that both modes share. */
export const SEL = {
  code64: 0x08,
  data: 0x10,
  userCode32: 0x1b,
  userData: 0x23,
  userCode64: 0x2b,
  code32: 0x30,
  conforming: 0x38,
  tss: 0x40,
  notPresent: 0x50,
  ldt: 0x58,
  gate: 0x68,
  readOnly: 0x78,
} as const;

const DATA = 0x00cf93000000ffffn;
const DPL3 = 3n << 45n;

export class TestProcessor {
  readonly physical: PhysicalMemory;
  readonly cpu: Processor;
  readonly exits: VmExit[] = [];
  /** What a handler of exits does, if it must do something. */
  onExit: (exit: VmExit) => void = () => {};
  readonly time = { now: 0 };
  readonly clock: Clock;
  readonly view: DataView;

  constructor(
    features = '',
    buffer: ArrayBuffer = new ArrayBuffer(RAM_BASE + RAM_SIZE),
    extensions: readonly CpuExtension[] = [],
    tables?: number,
  ) {
    this.physical = new PhysicalMemory({
      ...{ buffer, ramBase: RAM_BASE, size: RAM_SIZE, lowPages: LOW_PAGES },
      ...(tables === undefined ? {} : { tables }),
      verdicts: true,
    });
    this.physical.addSlot({
      id: 0,
      gpa: 0,
      size: RAM_SIZE,
      readOnly: false,
      name: 'ram',
      encryptable: false,
    });
    this.view = new DataView(buffer, RAM_BASE, RAM_SIZE);
    const selection = selectCpu(features);
    const { time } = this;
    this.clock = {
      mode: 'icount',
      now: () => this.now(),
      at: () => ({ cancel: () => {} }),
      epochSeconds: 0,
    };
    let seed = 1;
    const u32 = () => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return seed;
    };
    this.cpu = new Processor({
      index: 0,
      buffer,
      cpuBase: 0x1000,
      physical: this.physical,
      cpu: selection,
      physicalBits: 46,
      tableBitsHi: new ExtensionSet(extensions).tableBitsHi,
      random: { u32, fill: () => {} },
      intercept: new Set(),
      instructions: () => time.now,
    });
    const shared = {
      cpu: selection,
      cpus: 1,
      clock: this.clock,
      memory: { read: () => false, write: () => false },
      bus: new ApicBus(),
      kvmClocks: new KvmClockGroup(),
      extensions,
    };
    const view = this.cpu.record.view;
    this.cpu.connect(
      new VcpuServices(shared, { index: 0, view, cpu: this.cpu, vcpu: this.cpu.extension }),
    );
    this.cpu.exits.sink = (exit) => {
      this.exits.push(structuredClone(exit));
      this.onExit(exit);
    };
  }

  /** Virtual time. */
  protected now(): number {
    return this.time.now;
  }

  /** Calls a system function as the interpreter does. */
  call(name: string, ...args: (bigint | number)[]): Outcome {
    args.forEach((value, index) => {
      this.cpu.record.setU64(L.ARG0 + index * 8, BigInt.asUintN(64, BigInt(value)));
    });
    return this.cpu.callSystem(systemFunctions[name]);
  }

  get fault(): [vector: number, error: number] {
    return [this.cpu.record.i32(L.FAULT_VECTOR), this.cpu.record.i32(L.FAULT_ERROR)];
  }

  u64(gpa: number): bigint {
    return this.view.getBigUint64(gpa, true);
  }

  setU64(gpa: number, value: bigint): void {
    this.view.setBigUint64(gpa, BigInt.asUintN(64, value), true);
  }

  u32(gpa: number): number {
    return this.view.getUint32(gpa, true);
  }

  setDescriptor(selector: number, value: bigint): void {
    this.setU64(AT.gdt + (selector & ~7), value);
  }

  /** The GDT, TSS and LDT that both modes use. */
  private tables(): void {
    this.setDescriptor(SEL.code64, 0x00af9b000000ffffn);
    this.setDescriptor(SEL.data, DATA);
    this.setDescriptor(SEL.userCode32, 0x00cf9b000000ffffn | DPL3);
    this.setDescriptor(SEL.userData, DATA | DPL3);
    this.setDescriptor(SEL.userCode64, 0x00af9b000000ffffn | DPL3);
    this.setDescriptor(SEL.code32, 0x00cf9b000000ffffn);
    this.setDescriptor(SEL.conforming, 0x00cf9f000000ffffn);
    this.setDescriptor(SEL.tss, 0x0000890030000067n);
    this.setDescriptor(SEL.notPresent, DATA & ~(1n << 47n));
    this.setDescriptor(SEL.ldt, 0x00008200380000ffn);
    this.setDescriptor(SEL.readOnly, 0x00cf91000000ffffn);
    const { record } = this.cpu;
    record.setU64(L.GDTR, BigInt(AT.gdt));
    record.setI32(L.GDTR + 8, 0xff);
    record.setU64(L.IDTR, BigInt(AT.idt));
    record.setI32(L.IDTR + 8, 0xfff);
  }

  private segments(code: number, attributes: number): void {
    const { record } = this.cpu;
    const set = (index: number, selector: number, attr: number) => {
      const offset = L.segmentOffset(index);
      record.setU16(offset + L.SEG_SELECTOR, selector);
      record.setU16(offset + L.SEG_ATTRIBUTES, attr);
      record.setI32(offset + L.SEG_LIMIT, -1);
      record.setPair(offset, 0, 0);
    };
    for (const index of [0, 2, 3, 4, 5]) set(index, SEL.data, 0xc93);
    set(L.SEG.cs, code, attributes);
    set(L.SEG.tr, SEL.tss, 0x8b);
    record.setI32(L.segmentOffset(L.SEG.tr) + L.SEG_LIMIT, 0x67);
    record.setPair(L.segmentOffset(L.SEG.tr), AT.tss, 0);
  }

  private start(): this {
    const { cpu } = this;
    cpu.record.setPair(L.RIP, AT.code, 0);
    cpu.record.setPair(L.NEXT_RIP, AT.code + 2, 0);
    cpu.record.setPair(L.gprOffset(4), AT.stack, 0);
    cpu.setCpl(0);
    cpu.mmu.reconfigure();
    cpu.fpuStateChanged();
    cpu.modeChanged();
    return this;
  }

  /** 64-bit mode at CPL 0 with 4 KiB pages, all user and writable. */
  longMode(): this {
    this.tables();
    const flags = 7n;
    this.setU64(AT.tables, BigInt(AT.tables + 0x1000) | flags);
    this.setU64(AT.tables + 0x1000, BigInt(AT.tables + 0x2000) | flags);
    this.setU64(AT.tables + 0x2000, BigInt(AT.tables + 0x3000) | flags);
    for (let i = 0; i < 512; i++) this.setU64(this.pte(i * 4096), BigInt(i * 4096) | flags);
    this.setU64(AT.tss + 4, BigInt(AT.kernelStack));
    this.setU64(AT.tss + 0x24, BigInt(AT.istStack));
    const { record } = this.cpu;
    record.setPair(L.CR0, 0x80010033 | 0, 0);
    record.setPair(L.CR3, AT.tables, 0);
    record.setPair(L.CR4, 0x6a0, 0);
    record.setPair(L.EFER, 0xd01, 0);
    this.segments(SEL.code64, 0xa9b);
    return this.start();
  }

  /** Guest address of the last-level entry that `longMode` made for `address`. */
  pte(address: number): number {
    return AT.tables + 0x3000 + (address >>> 12) * 8;
  }

  /** 32-bit protected mode at CPL 0 without paging. */
  protectedMode(): this {
    this.tables();
    this.view.setUint32(AT.tss + 4, AT.kernelStack, true);
    this.view.setUint32(AT.tss + 8, SEL.data, true);
    const { record } = this.cpu;
    record.setPair(L.CR0, 0x33, 0);
    record.setPair(L.CR4, 0, 0);
    record.setPair(L.EFER, 0, 0);
    this.segments(SEL.code32, 0xc9b);
    return this.start();
  }

  /** Moves to CPL 3 on the current stack. */
  userMode(code: number = this.cpu.isLong ? SEL.userCode64 : SEL.userCode32): this {
    const { record, cpu } = this;
    const cs = L.segmentOffset(L.SEG.cs);
    record.setU16(cs + L.SEG_SELECTOR, code);
    record.setU16(cs + L.SEG_ATTRIBUTES, code === SEL.userCode64 ? 0xafb : 0xcfb);
    const ss = L.segmentOffset(L.SEG.ss);
    record.setU16(ss + L.SEG_SELECTOR, SEL.userData);
    record.setU16(ss + L.SEG_ATTRIBUTES, 0xcf3);
    cpu.setCpl(3);
    cpu.modeChanged();
    return this;
  }

  get record() {
    return this.cpu.record;
  }

  /** A 64-bit gate of the IDT. */
  longGate(
    vector: number,
    options: {
      type?: number;
      dpl?: number;
      ist?: number;
      selector?: number;
      present?: boolean;
    } = {},
  ): void {
    const { type = 14, dpl = 0, ist = 0, selector = SEL.code64, present = true } = options;
    const offset = BigInt(AT.handlers + vector * 16);
    const access = BigInt((present ? 0x80 : 0) | (dpl << 5) | type);
    const low =
      (offset & 0xffffn) | (BigInt(selector) << 16n) | (BigInt(ist) << 32n) | (access << 40n);
    this.setU64(AT.idt + vector * 16, low | ((offset & 0xffff0000n) << 32n));
    this.setU64(AT.idt + vector * 16 + 8, 0n);
  }

  /** A 32-bit (or, by type, 16-bit) gate of the IDT. */
  gate(
    vector: number,
    options: { type?: number; dpl?: number; selector?: number; present?: boolean } = {},
  ): void {
    const { type = 14, dpl = 0, selector = SEL.code32, present = true } = options;
    const offset = BigInt(AT.handlers + vector * 16);
    const access = BigInt((present ? 0x80 : 0) | (dpl << 5) | type);
    const low = (offset & 0xffffn) | (BigInt(selector) << 16n) | (access << 40n);
    this.setU64(AT.idt + vector * 8, low | ((offset & 0xffff0000n) << 32n));
  }
}
