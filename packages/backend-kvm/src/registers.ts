/**
 * A vCPU's registers between core's form and KVM's structs.
 *
 * Segment attributes are in the VMCB's 12-bit form in core; KVM has each bit as a byte, and a flag
 * `unusable` for what Intel's processors call so: here, a segment that is not present.
 */
import { GPR_NAMES, type SegmentState, type VcpuState } from '@cloister/core';
import { StructView } from './abi/struct.js';
import { DEBUGREGS, REGS, SREGS, XCRS } from './abi/structs.js';

/** Segment registers, core's name and KVM's. */
const SEGMENTS = [
  ['es', 'es'],
  ['cs', 'cs'],
  ['ss', 'ss'],
  ['ds', 'ds'],
  ['fs', 'fs'],
  ['gs', 'gs'],
  ['ldtr', 'ldt'],
  ['tr', 'tr'],
] as const;

const TABLES = [
  ['gdtr', 'gdt'],
  ['idtr', 'idt'],
] as const;

const CONTROL = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer'] as const;

/** The structs that together hold what `VcpuState` has. */
export interface RegisterStructs {
  readonly regs: StructView;
  readonly sregs: StructView;
  readonly debug: StructView;
  /** Null where the host has no XSAVE. */
  readonly xcrs: StructView | null;
}

export function registerStructs(withXcrs: boolean): RegisterStructs {
  return {
    regs: new StructView(REGS),
    sregs: new StructView(SREGS),
    debug: new StructView(DEBUGREGS),
    xcrs: withXcrs ? new StructView(XCRS) : null,
  };
}

function readSegment(from: StructView, name: string): SegmentState {
  const bit = (field: string) => from.get(`${name}.${field}`) & 1;
  return {
    selector: from.get(`${name}.selector`),
    attributes:
      (from.get(`${name}.type`) & 15) |
      (bit('s') << 4) |
      ((from.get(`${name}.dpl`) & 3) << 5) |
      ((bit('present') & ~bit('unusable')) << 7) |
      (bit('avl') << 8) |
      (bit('l') << 9) |
      (bit('db') << 10) |
      (bit('g') << 11),
    limit: from.get(`${name}.limit`),
    base: from.get64(`${name}.base`),
  };
}

function writeSegment(to: StructView, name: string, state: SegmentState): void {
  const { attributes } = state;
  const bit = (position: number) => (attributes >>> position) & 1;
  to.set(`${name}.base`, state.base)
    .set(`${name}.limit`, state.limit)
    .set(`${name}.selector`, state.selector)
    .set(`${name}.type`, attributes & 15)
    .set(`${name}.s`, bit(4))
    .set(`${name}.dpl`, (attributes >>> 5) & 3)
    .set(`${name}.present`, bit(7))
    .set(`${name}.avl`, bit(8))
    .set(`${name}.l`, bit(9))
    .set(`${name}.db`, bit(10))
    .set(`${name}.g`, bit(11))
    .set(`${name}.unusable`, 1 - bit(7));
}

/** What the structs say, as core's state. */
export function toState({ regs, sregs, debug, xcrs }: RegisterStructs): VcpuState {
  const gpr = Object.fromEntries(GPR_NAMES.map((name) => [name, regs.get64(name)]));
  const segments = SEGMENTS.map(([ours, theirs]) => [ours, readSegment(sregs, theirs)]);
  const tables = TABLES.map(([ours, theirs]) => [
    ours,
    { limit: sregs.get(`${theirs}.limit`), base: sregs.get64(`${theirs}.base`) },
  ]);
  return {
    gpr,
    rip: regs.get64('rip'),
    rflags: regs.get64('rflags'),
    ...Object.fromEntries(segments),
    ...Object.fromEntries(tables),
    ...Object.fromEntries(CONTROL.map((name) => [name, sregs.get64(name)])),
    dr6: debug.get64('dr6'),
    dr7: debug.get64('dr7'),
    xcr0: xcrs === null ? 1n : xcrs.view.getBigUint64(16, true),
  } as VcpuState;
}

/**
 * Puts core's state into structs that hold the vCPU's own: what the state does not have (APIC base,
 * pending interrupts, DR0-3) stays.
 */
export function fromState(state: VcpuState, { regs, sregs, debug, xcrs }: RegisterStructs): void {
  for (const name of GPR_NAMES) regs.set(name, state.gpr[name]);
  regs.set('rip', state.rip).set('rflags', state.rflags | 2n);
  for (const [ours, theirs] of SEGMENTS) writeSegment(sregs, theirs, state[ours]);
  for (const [ours, theirs] of TABLES) {
    sregs.set(`${theirs}.limit`, state[ours].limit).set(`${theirs}.base`, state[ours].base);
  }
  for (const name of CONTROL) sregs.set(name, state[name]);
  debug.set('dr6', state.dr6).set('dr7', state.dr7);
  if (xcrs !== null) {
    xcrs.set('nr_xcrs', 1);
    xcrs.view.setUint32(8, 0, true);
    xcrs.view.setBigUint64(16, state.xcr0, true);
  }
}
