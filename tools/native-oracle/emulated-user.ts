/**
 * The emulated processor as a user program sees it: CPL 3, three pages mapped as natively, every
 * optional instruction present. Runs one instruction of a case.
 */

import { selectCpu } from '@cloister/core/cpu';
import { FLAGS_ALL } from '../../packages/backend-emu/src/cpu/flags.js';
import * as L from '../../packages/backend-emu/src/cpu/layout.js';
import { EmulatedVm } from '../../packages/backend-emu/src/emulated-vm.js';
import { cacheSegment, readDescriptor } from '../../packages/backend-emu/src/system/descriptors.js';
import { abridgedTags, fullTags } from '../../packages/backend-emu/src/system/fpu-image.js';
import { loadNullSegment } from '../../packages/backend-emu/src/system/segments.js';
import { littleEndian } from './instruction.js';
import type { NativeCase } from './native-cases.js';
import { KIND, type OracleSegment } from './oracle.js';
import {
  type Bits,
  CODE_AT,
  CODE_PAGE,
  codeStart,
  DATA_AT,
  DATA_PAGE,
  DATA_PAGES,
  FX_IMAGE,
  FX_ST,
  FX_XMM,
  UserState,
} from './user-state.js';

/** What became of a case. `vector` is -1 where the instruction completed. */
export interface Outcome {
  readonly vector: number;
  readonly error: number;
  /** Linear address of a page fault. */
  readonly address: bigint;
  /** Of the segment registers, in order of encoding. */
  readonly selectors: readonly number[];
  readonly state: UserState;
}

const MEMORY = 4 << 20;
const TABLES = 0x10000;
const USER_PAGE = 7;
const SUPERVISOR_PAGE = 3;
/** A repeated string instruction that takes longer than this is stuck. */
const MOST_STEPS = 64;
const MXCSR_MASK = 0xffff;

/** A page that a user program cannot reach, mapped onto itself. */
const DESCRIPTORS = 0x3fe000;
const LDT_AT = 0x800;
const TASK_AT = 0xc00;
const TASK_LIMIT = 0x67;

/** Selectors of code, stack and data segments. */
const SELECTORS = {
  64: [0x33, 0x2b, 0x2b],
  32: [0x23, 0x2b, 0x2b],
  16: [0x07, 0x0f, 0x1f],
} as const;
/** Bases and types, with S, DPL and P, of the segments of 16-bit code. */
const BASES = [CODE_PAGE, DATA_PAGE, DATA_PAGE];
const TYPES = [0xfb, 0xf3, 0xf3];

/** What Linux and `oracle.c` have in the tables, by index. */
const GDT: readonly bigint[] = [
  0n, 0n, 0x00af9b000000ffffn, 0x00cf93000000ffffn, 0x00cffb000000ffffn, 0x00cff3000000ffffn,
  0x00affb000000ffffn,
]; // biome-ignore format: table
const LDT_ENTRIES = 4;

/** The descriptor of a segment of 16-bit code, as Linux makes it. */
function descriptorOf({ limit, kind }: OracleSegment, index: number): bigint {
  let type = TYPES[index];
  if ((kind & KIND.expandDown) !== 0) type |= 4;
  if ((kind & KIND.readOnly) !== 0) type &= ~2;
  const flags = (kind & KIND.big) !== 0 ? 0x5n : 0x1n;
  const base = BigInt(BASES[index]);
  return BigInt(limit) | (base << 16n) | (BigInt(type) << 40n) | (flags << 52n);
}

export class EmulatedUser {
  readonly #vm: EmulatedVm;

  constructor() {
    const selection = selectCpu();
    this.#vm = new EmulatedVm(
      {
        memorySize: MEMORY,
        cpus: 1,
        clock: { mode: 'icount', now: () => 0, at: () => ({ cancel: () => {} }), epochSeconds: 0 },
        random: { u32: () => 0, fill: () => {} },
        extensions: [],
        intercept: new Set(),
      },
      { ...selection, has: () => true },
    );
    this.#vm.addSlot({
      id: 0, gpa: 0, size: MEMORY, readOnly: false, name: 'ram', encryptable: false,
    }); // biome-ignore format: a plain record
    this.#writeTables();
    this.#writeDescriptors();
    const { record } = this.#cpu;
    record.setPair(L.CR0, 0x80050033 | 0, 0);
    record.setPair(L.CR3, TABLES, 0);
    record.setPair(L.CR4, 0x406f0, 0);
    record.setPair(L.XCR0, 3, 0);
    record.setPair(L.EFER, 0xd01, 0);
    this.#cpu.mmu.reconfigure();
    this.#cpu.fpuStateChanged();
  }

  get #cpu() {
    return this.#vm.vcpus[0].processor;
  }

  /** Four levels that map the code page and the data pages onto themselves. */
  #writeTables(): void {
    const { physical } = this.#cpu;
    const entry = (at: number, value: number): void => {
      physical.view.setUint32(physical.ramBase + at, value | USER_PAGE, true);
    };
    for (let level = 0; level < 2; level++) {
      entry(TABLES + level * 0x1000, TABLES + (level + 1) * 0x1000);
    }
    entry(TABLES + 0x2000 + (CODE_PAGE >> 21) * 8, TABLES + 0x3000);
    for (const page of [CODE_PAGE, DATA_PAGE, DATA_PAGE + 0x1000]) {
      entry(TABLES + 0x3000 + ((page >> 12) & 511) * 8, page);
    }
    const supervisor = physical.ramBase + TABLES + 0x3000 + ((DESCRIPTORS >> 12) & 511) * 8;
    physical.view.setUint32(supervisor, DESCRIPTORS | SUPERVISOR_PAGE, true);
  }

  #writeDescriptors(): void {
    const { physical, record } = this.#cpu;
    const at = physical.ramBase + DESCRIPTORS;
    for (const [i, entry] of GDT.entries()) physical.view.setBigUint64(at + i * 8, entry, true);
    record.setPair(L.GDTR, DESCRIPTORS, 0);
    record.setI32(L.GDTR + 8, GDT.length * 8 - 1);
    const ldtr = L.segmentOffset(L.SEG.ldtr);
    record.setPair(ldtr, DESCRIPTORS + LDT_AT, 0);
    record.setI32(ldtr + L.SEG_LIMIT, LDT_ENTRIES * 8 - 1);
    record.setU16(ldtr + L.SEG_ATTRIBUTES, 0x82);
    record.setU16(ldtr + L.SEG_SELECTOR, 0x50);
    // A task state without rights to ports: its map begins at its limit.
    const task = L.segmentOffset(L.SEG.tr);
    physical.view.setUint16(at + TASK_AT + 0x66, TASK_LIMIT + 1, true);
    record.setPair(task, DESCRIPTORS + TASK_AT, 0);
    record.setI32(task + L.SEG_LIMIT, TASK_LIMIT);
    record.setU16(task + L.SEG_ATTRIBUTES, 0x8b);
  }

  #enterMode(bits: Bits, segments: readonly OracleSegment[]): void {
    const cpu = this.#cpu;
    const at = cpu.physical.ramBase + DESCRIPTORS + LDT_AT;
    segments.forEach((segment, index) => {
      const entry = SELECTORS[16][index] >> 3;
      cpu.physical.view.setBigUint64(at + entry * 8, descriptorOf(segment, index), true);
    });
    const [code, stack, data] = SELECTORS[bits];
    cpu.mmu.tlb.flushAll();
    for (const [index, selector] of [code, stack, data, data].entries()) {
      const register = [L.SEG.cs, L.SEG.ss, L.SEG.ds, L.SEG.es][index];
      readDescriptor(cpu, selector);
      cacheSegment(cpu, register, selector);
    }
    for (const index of [L.SEG.fs, L.SEG.gs]) loadNullSegment(cpu, index, 0);
    cpu.modeChanged();
  }

  run({ bits, code, segments, state }: NativeCase): Outcome {
    const cpu = this.#cpu;
    const { record, physical } = cpu;
    const { interpreter } = this.#vm.vcpus[0];
    cpu.setCpl(3);
    this.#enterMode(bits, segments);
    physical.bytes.set(code, CODE_PAGE + CODE_AT);
    physical.written(CODE_PAGE + CODE_AT, code.length);
    physical.bytes.fill(0, DATA_PAGE, DATA_PAGE + DATA_PAGES);
    physical.bytes.set(state.data, DATA_PAGE + DATA_AT);
    this.#load(state);
    const start = codeStart(bits);
    const selector = SELECTORS[bits][0];
    let end = 'deadline';
    for (let i = 0; i < MOST_STEPS && end === 'deadline'; i++) {
      end = interpreter.run(1);
      if (record.lo(L.RIP) !== start || record.segmentSelector(L.SEG.cs) !== selector) break;
    }
    const fault = end === 'fault';
    const outcome = {
      vector: fault ? record.i32(L.FAULT_VECTOR) : -1,
      error: record.i32(L.FAULT_ERROR),
      address: record.u64(L.FAULT_ADDRESS),
      selectors: [0, 1, 2, 3, 4, 5].map((i) => record.segmentSelector(i)),
      state: this.#store(),
    };
    record.setI32(L.FAULT_VECTOR, -1);
    return outcome;
  }

  #load(state: UserState): void {
    const { record } = this.#cpu;
    for (let i = 0; i < 16; i++) record.setU64(L.gprOffset(i), state.gpr(i));
    this.#cpu.setEflags(state.rflags, FLAGS_ALL);
    record.setU64(L.RIP, state.rip);
    const { fx, fxBytes } = state;
    const status = fx.getUint16(FX_IMAGE.fsw, true);
    record.setU16(L.FCW, fx.getUint16(FX_IMAGE.fcw, true));
    record.setU16(L.FSW, status);
    record.setU16(L.FOP, fx.getUint16(FX_IMAGE.fop, true));
    record.setU64(L.FIP, fx.getBigUint64(FX_IMAGE.fip, true));
    record.setU64(L.FDP, fx.getBigUint64(FX_IMAGE.fdp, true));
    record.setU16(L.FCS, 0);
    record.setU16(L.FDS, 0);
    const top = (status >> 11) & 7;
    for (let i = 0; i < 8; i++) {
      const register = fxBytes.subarray(FX_ST + i * 16, FX_ST + i * 16 + 10);
      record.bytes.set(register, L.ST + ((top + i) & 7) * 16);
    }
    record.setU16(L.FTW, fullTags(record.bytes, fx.getUint8(FX_IMAGE.tags)));
    record.bytes.set(fxBytes.subarray(FX_XMM, FX_XMM + 256), L.XMM);
    record.setI32(L.MXCSR, fx.getInt32(FX_IMAGE.mxcsr, true));
    this.#cpu.fpuStateChanged();
  }

  #store(): UserState {
    const { record, physical } = this.#cpu;
    const state = new UserState();
    for (let i = 0; i < 16; i++) state.setGpr(i, record.u64(L.gprOffset(i)));
    state.rflags = record.eflags();
    state.rip = record.u64(L.RIP);
    const { fx, fxBytes } = state;
    const status = record.u16(L.FSW);
    fx.setUint16(FX_IMAGE.fcw, record.u16(L.FCW), true);
    fx.setUint16(FX_IMAGE.fsw, status, true);
    fx.setUint8(FX_IMAGE.tags, abridgedTags(record.u16(L.FTW)));
    fx.setUint16(FX_IMAGE.fop, record.u16(L.FOP), true);
    fx.setBigUint64(FX_IMAGE.fip, record.u64(L.FIP), true);
    fx.setBigUint64(FX_IMAGE.fdp, record.u64(L.FDP), true);
    fxBytes.set(littleEndian(record.i32(L.MXCSR) & MXCSR_MASK, 4), FX_IMAGE.mxcsr);
    const top = (status >> 11) & 7;
    for (let i = 0; i < 8; i++) {
      const from = L.ST + ((top + i) & 7) * 16;
      fxBytes.set(record.bytes.subarray(from, from + 10), FX_ST + i * 16);
    }
    fxBytes.set(record.bytes.subarray(L.XMM, L.XMM + 256), FX_XMM);
    const window = DATA_PAGE + DATA_AT;
    state.data.set(physical.bytes.subarray(window, window + state.data.length));
    return state;
  }
}
