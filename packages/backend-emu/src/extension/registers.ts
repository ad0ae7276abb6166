/**
 * The registers of a vCPU as a window (`REGISTER_WINDOW` of core): saved, loaded and cleared by
 * blocks, since a world switch does it twice.
 *
 * Translations outlive a switch where nothing that they depend on has changed; `RegisterWindows`
 * remembers for that under which control registers they were made.
 */
import { REGISTER_WINDOW, REGISTER_WINDOW_SIZE, VmmError } from '@cloister/core';
import { xcr0Mask } from '@cloister/core/cpu';
import { FLAG_RF, FLAG_VM, FLAGS_ALL } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { CpuRecord } from '../cpu/record.js';
import * as R from '../cpu/registers.js';
import { resetRecord } from '../cpu/reset.js';
import { loadPdptes } from '../mmu/pdptes.js';
import { eferMask } from '../msr/system-msrs.js';
import { CR0_DEFINED, cr4Defined } from '../system/control.js';

const W = REGISTER_WINDOW;

/** Blocks that lie alike in the record and in a window: offsets and bytes. */
const BLOCKS = [
  [L.GPR, W.rax.offset, 128],
  [L.CR0, W.cr0.offset, 56],
  [L.DR, W.dr0.offset, 32],
  [L.DR + 6 * 8, W.dr6.offset, 16],
  [L.STAR, W.star.offset, 72],
  [L.MXCSR, W.mxcsr.offset, 4],
  [L.FCW, W.fcw.offset, 28],
  [L.ST, W.x87.offset, 128],
  [L.XMM, W.xmm.offset, 256],
] as const;
const SEGMENT_COUNT = 8;
/**
 * What of the record is the guest's, as ranges of offsets. The rest is derived, or belongs to the
 * run under way (budget, current op, TLB in use) or the host (activity, NMI blocking, TSC offset).
 */
const GUEST_RANGES = [
  [L.GPR, L.RIP_PAGE],
  [L.RIP, L.MODE],
  [L.FAULT_VECTOR, L.STOP_OP],
  [L.FAULT_ADDRESS, L.TLB],
  [L.RMW_PENDING, L.ACTIVITY],
  [L.NEXT_RIP, L.TSC_OFFSET],
  [L.SHADOW_RIP, L.INTERRUPT_PENDING],
  [L.PKRU, L.PKRU + 4],
  [L.XMM, L.RECORD_SIZE],
] as const;
const MXCSR_DEFINED = 0xffff;
const DR6_FIXED = 0xffff0ff0 | 0;
const DR6_DEFINED = 0xe00f;
const DR7_FIXED = 0x400;
const DR7_DEFINED = 0xffff27ff | 0;
/** DebugCtl, but for LBR. */
const DEBUG_DEFINED = 0x3e;
const DEBUG_BTF = 1 << 1;

interface Block {
  readonly record: Int32Array;
  /** Index of a word of the window. */
  readonly at: number;
}

export class RegisterWindows {
  /** A window at an aligned place. */
  private readonly bytes = new Uint8Array(REGISTER_WINDOW_SIZE);
  private readonly words = new Int32Array(this.bytes.buffer);
  private readonly window = new DataView(this.bytes.buffer);
  private readonly views: readonly Int32Array[];
  private readonly blocks: readonly Block[];
  /** A record after RESET. */
  private readonly resetBytes: Uint8Array;
  private readonly cr4Mask: number;
  private readonly eferMask: number;
  private readonly xcr0Mask: number;
  /** The registers are those of RESET, and the translations those of others. */
  private cleared = false;
  /** CR0, CR3, CR4, EFER and PKRU that the translations were made under. */
  private readonly made = new Int32Array(6);

  constructor(private readonly cpu: Processor) {
    const { record, cpu: selection } = cpu;
    this.blocks = BLOCKS.map(([from, to, bytes]) => ({
      record: new Int32Array(record.buffer, record.base + from, bytes / 4),
      at: to / 4,
    }));
    this.views = BLOCKS.map(([, to, bytes]) => this.words.subarray(to / 4, (to + bytes) / 4));
    const reset = new CpuRecord(new ArrayBuffer(L.CPU_STRIDE), 0);
    resetRecord(reset, selection.model.signature, false);
    this.resetBytes = reset.bytes.slice(0, L.RECORD_SIZE);
    this.cr4Mask = cr4Defined(cpu);
    this.eferMask = eferMask(selection);
    this.xcr0Mask = selection.has('xsave') ? xcr0Mask(selection.has) : 1;
  }

  /** Fills `window`. */
  save(window: Uint8Array): void {
    checkWindow(window);
    const { cpu, words } = this;
    const { record, services } = cpu;
    record.setPair(L.CR8, services.apic.taskPriority, 0);
    for (const block of this.blocks) words.set(block.record, block.at);
    words[W.rip.offset >> 2] = record.lo(L.RIP);
    words[(W.rip.offset >> 2) + 1] = record.hi(L.RIP);
    words[W.rflags.offset >> 2] = record.eflags() | cpu.debug.resumeFlag;
    words[W.cpl.offset >> 2] = cpu.cpl | (cpu.shadow.covers() ? 0x100 : 0);
    for (let index = 0; index < SEGMENT_COUNT; index++) this.saveSegment(index);
    this.saveTable(W.gdtr.offset, L.GDTR);
    this.saveTable(W.idtr.offset, L.IDTR);
    const { platform } = services;
    words[W.pat.offset >> 2] = platform.patLo;
    words[(W.pat.offset >> 2) + 1] = platform.patHi;
    words[W.debugCtl.offset >> 2] = platform.debugCtl;
    words[W.specCtrl.offset >> 2] = platform.specCtrl;
    words[W.pkru.offset >> 2] = cpu.words[L.PKRU >> 2];
    window.set(this.bytes);
    this.bytes.fill(0);
  }

  private saveSegment(index: number): void {
    const { words } = this;
    const from = L.segmentOffset(index) >> 2;
    const to = (W.es.offset >> 2) + index * 4;
    words[to] = this.cpu.words[from + 3];
    words[to + 1] = this.cpu.words[from + 2];
    words[to + 2] = this.cpu.words[from];
    words[to + 3] = this.cpu.words[from + 1];
  }

  private saveTable(offset: number, field: number): void {
    const to = offset >> 2;
    const from = field >> 2;
    this.words[to + 1] = this.cpu.words[from + 2];
    this.words[to + 2] = this.cpu.words[from];
    this.words[to + 3] = this.cpu.words[from + 1];
  }

  /** Makes the registers those of `window`. */
  load(window: Uint8Array): void {
    checkWindow(window);
    const { cpu, words } = this;
    const { record } = cpu;
    this.remember();
    this.bytes.set(window);
    this.cut();
    this.blocks.forEach(({ record: target }, index) => {
      target.set(this.views[index]!);
    });
    for (let index = 0; index < SEGMENT_COUNT; index++) this.loadSegment(index);
    this.loadTable(W.gdtr.offset, L.GDTR);
    this.loadTable(W.idtr.offset, L.IDTR);
    this.loadFlags();
    const long64 = cpu.isLong && (record.segmentAttributes(L.SEG.cs) & 0x200) !== 0;
    const rip = W.rip.offset >> 2;
    record.setPair(L.RIP, words[rip], long64 ? words[rip + 1] : 0);
    cpu.setCpl(this.privilege());
    if (this.window.getUint8(W.shadow.offset) === 0) cpu.shadow.clear();
    else record.copyPair(L.SHADOW_RIP, L.RIP);
    record.setI32(L.FAULT_VECTOR, -1);
    record.setI32(L.RMW_PENDING, 0);
    this.loadPlatform();
    this.apply();
    this.bytes.fill(0);
  }

  /** Cuts what a processor cannot hold to what it can. */
  private cut(): void {
    const { words } = this;
    const mask = (offset: number, lo: number, fixed = 0) => {
      words[offset >> 2] = (words[offset >> 2] & lo) | fixed;
      words[(offset >> 2) + 1] = 0;
    };
    mask(W.cr0.offset, CR0_DEFINED, R.CR0_ET);
    if ((words[W.cr0.offset >> 2] & R.CR0_PE) === 0) words[W.cr0.offset >> 2] &= ~R.CR0_PG;
    const paging = (words[W.cr0.offset >> 2] & R.CR0_PG) !== 0;
    mask(W.cr4.offset, this.cr4Mask);
    mask(W.efer.offset, this.eferMask & ~R.EFER_LMA);
    const long = paging && (words[W.efer.offset >> 2] & R.EFER_LME) !== 0;
    if (long) {
      words[W.efer.offset >> 2] |= R.EFER_LMA;
      words[W.cr4.offset >> 2] |= R.CR4_PAE;
    } else {
      words[W.cr4.offset >> 2] &= ~R.CR4_PCIDE;
      words[(W.cr3.offset >> 2) + 1] = 0;
    }
    words[(W.cr3.offset >> 2) + 1] &= this.cpu.mmu.walker.addressHi;
    mask(W.xcr0.offset, this.xcr0Mask, 1);
    mask(W.dr6.offset, DR6_DEFINED, DR6_FIXED);
    mask(W.dr7.offset, DR7_DEFINED, DR7_FIXED);
    words[W.mxcsr.offset >> 2] &= MXCSR_DEFINED;
  }

  private loadSegment(index: number): void {
    const { words } = this;
    const to = L.segmentOffset(index) >> 2;
    const from = (W.es.offset >> 2) + index * 4;
    this.cpu.words[to + 3] = words[from] & 0x0fffffff;
    this.cpu.words[to + 2] = words[from + 1];
    this.cpu.words[to] = words[from + 2];
    this.cpu.words[to + 1] = words[from + 3];
  }

  private loadTable(offset: number, field: number): void {
    const from = offset >> 2;
    const to = field >> 2;
    this.cpu.words[to + 2] = this.words[from + 1] & 0xffff;
    this.cpu.words[to] = this.words[from + 2];
    this.cpu.words[to + 1] = this.words[from + 3];
  }

  private loadFlags(): void {
    const { cpu } = this;
    const image = this.words[W.rflags.offset >> 2];
    // Long mode has no virtual-8086 mode, real mode neither.
    const real = (cpu.words[L.CR0 >> 2] & R.CR0_PE) === 0;
    const flags = cpu.isLong || real ? image & ~FLAG_VM : image;
    cpu.record.setEflags(flags & ~FLAG_RF, FLAGS_ALL);
    if ((image & FLAG_RF) !== 0) cpu.debug.setResumeFlag();
    else cpu.debug.clearResumeFlag();
  }

  private privilege(): number {
    const { cpu } = this;
    if (cpu.isV86) return 3;
    return cpu.isProtected ? this.window.getUint8(W.cpl.offset) & 3 : 0;
  }

  private loadPlatform(): void {
    const { words, cpu } = this;
    const { services } = cpu;
    const { platform } = services;
    platform.patLo = words[W.pat.offset >> 2] >>> 0;
    platform.patHi = words[(W.pat.offset >> 2) + 1] >>> 0;
    platform.specCtrl = words[W.specCtrl.offset >> 2] >>> 0;
    const debugCtl = words[W.debugCtl.offset >> 2] & DEBUG_DEFINED;
    platform.debugCtl = debugCtl;
    cpu.branchStep((debugCtl & DEBUG_BTF) !== 0);
    cpu.words[L.PKRU >> 2] = this.made[5];
    cpu.setPkru(words[W.pkru.offset >> 2]);
  }

  /** Notes what the translations were made under, before that changes. */
  private remember(): void {
    if (this.cleared) return;
    const { words } = this.cpu;
    this.made[0] = words[L.CR0 >> 2];
    this.made[1] = words[L.CR3 >> 2];
    this.made[2] = words[(L.CR3 >> 2) + 1];
    this.made[3] = words[L.CR4 >> 2];
    this.made[4] = words[L.EFER >> 2];
    this.made[5] = words[L.PKRU >> 2];
  }

  /** Takes over new registers: mode, translations, breakpoints, task priority. */
  private apply(): void {
    const { cpu, made } = this;
    const { words, record } = cpu;
    this.cleared = false;
    const same =
      made[0] === words[L.CR0 >> 2] &&
      made[1] === words[L.CR3 >> 2] &&
      made[2] === words[(L.CR3 >> 2) + 1] &&
      made[3] === words[L.CR4 >> 2] &&
      made[4] === words[L.EFER >> 2];
    const { breakpoints } = cpu.mmu;
    const armed = breakpoints.data || breakpoints.code || breakpoints.ports;
    if (armed || (words[(L.DR + 7 * 8) >> 2] & 0xff) !== 0) cpu.breakpointsChanged();
    if (!same) cpu.mmu.reconfigure();
    cpu.modeChanged();
    cpu.fpuStateChanged();
    record.setPair(L.CR8, cpu.services.apic.taskPriority, 0);
    // A window has no room for PAE's top entries: they are what memory says.
    if (cpu.mmu.walker.isPae) loadPdptes(record, cpu.mmu, record.lo(L.CR3));
    cpu.updatePending();
  }

  /** Makes the registers those of RESET. */
  clear(): void {
    const { cpu } = this;
    this.remember();
    this.cleared = true;
    for (const [from, to] of GUEST_RANGES) {
      cpu.record.bytes.set(this.resetBytes.subarray(from, to), from);
    }
    cpu.shadow.clear();
    cpu.debug.clearResumeFlag();
    cpu.services.resetPlatform();
  }

  /** Before instructions are executed: what was cleared and not loaded again is RESET's in full. */
  settle(): void {
    if (this.cleared) this.apply();
  }

  /** The record was replaced or its translations dropped by others. */
  forget(): void {
    this.cleared = false;
  }
}

function checkWindow(window: Uint8Array): void {
  if (window.length === REGISTER_WINDOW_SIZE) return;
  const sizes = `${window.length} bytes, not ${REGISTER_WINDOW_SIZE}`;
  throw new VmmError('invalid-argument', `a register window has ${sizes}`);
}
