/**
 * The emulated processor as a user program sees it: CPL 3, three pages mapped as natively, every
 * optional instruction present. Runs one instruction of a case.
 */

import * as L from '../../packages/backend-emu/src/cpu/layout.js';
import { selectCpu } from '../../packages/backend-emu/src/cpuid/selection.js';
import { EmulatedVm } from '../../packages/backend-emu/src/emulated-vm.js';
import { abridgedTags, fullTags } from '../../packages/backend-emu/src/system/fxsave.js';
import { littleEndian } from './instruction.js';
import type { NativeCase } from './native-cases.js';
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
  readonly state: UserState;
}

const MEMORY = 4 << 20;
const TABLES = 0x10000;
const USER_PAGE = 7;
/** A repeated string instruction that takes longer than this is stuck. */
const MOST_STEPS = 64;
const MXCSR_MASK = 0xffff;

/** Attributes of code and data segments, in VMCB form. */
const SEGMENTS: Readonly<Record<Bits, { code: number; data: number; limit: number }>> = {
  64: { code: 0xafb, data: 0xcf3, limit: -1 },
  32: { code: 0xcfb, data: 0xcf3, limit: -1 },
  16: { code: 0x0fb, data: 0x0f3, limit: 0xffff },
};

export class EmulatedUser {
  readonly #vm: EmulatedVm;
  #bits: Bits | 0 = 0;

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
    const { record } = this.#cpu;
    record.setPair(L.CR0, 0x80050033 | 0, 0);
    record.setPair(L.CR3, TABLES, 0);
    record.setPair(L.CR4, 0x6f0, 0);
    record.setPair(L.EFER, 0xd01, 0);
    this.#cpu.setCpl(3);
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
  }

  #enterMode(bits: Bits): void {
    if (this.#bits === bits) return;
    this.#bits = bits;
    const { record } = this.#cpu;
    const { code, data, limit } = SEGMENTS[bits];
    for (const index of [L.SEG.es, L.SEG.cs, L.SEG.ss, L.SEG.ds, L.SEG.fs, L.SEG.gs]) {
      const isCode = index === L.SEG.cs;
      const offset = L.segmentOffset(index);
      const base = bits === 16 ? (isCode ? CODE_PAGE : DATA_PAGE) : 0;
      record.setPair(offset, base, 0);
      record.setI32(offset + L.SEG_LIMIT, limit);
      record.setU16(offset + L.SEG_ATTRIBUTES, isCode ? code : data);
      record.setU16(offset + L.SEG_SELECTOR, 3);
    }
    this.#cpu.modeChanged();
  }

  run({ bits, code, state }: NativeCase): Outcome {
    const cpu = this.#cpu;
    const { record, physical } = cpu;
    const { interpreter } = this.#vm.vcpus[0];
    this.#enterMode(bits);
    physical.bytes.set(code, CODE_PAGE + CODE_AT);
    physical.written(CODE_PAGE + CODE_AT, code.length);
    physical.bytes.fill(0, DATA_PAGE, DATA_PAGE + DATA_PAGES);
    physical.bytes.set(state.data, DATA_PAGE + DATA_AT);
    this.#load(state);
    const start = codeStart(bits);
    let end = 'deadline';
    for (let i = 0; i < MOST_STEPS && end === 'deadline'; i++) {
      end = interpreter.run(1);
      if (record.lo(L.RIP) !== start) break;
    }
    const fault = end === 'fault';
    const outcome = {
      vector: fault ? record.i32(L.FAULT_VECTOR) : -1,
      error: record.i32(L.FAULT_ERROR),
      address: record.u64(L.FAULT_ADDRESS),
      state: this.#store(),
    };
    record.setI32(L.FAULT_VECTOR, -1);
    return outcome;
  }

  #load(state: UserState): void {
    const { record } = this.#cpu;
    for (let i = 0; i < 16; i++) record.setU64(L.gprOffset(i), state.gpr(i));
    record.setEflags(state.rflags);
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
