/**
 * Breakpoints and single-stepping by the host: the processor's own debug registers, lent to it.
 *
 * Source: Documentation/virt/kvm/api.rst (KVM_SET_GUEST_DEBUG); AMD APM vol. 2, 13.1.1.4 (DR7).
 * While the host has breakpoints, the guest's own debug registers do not act.
 */
import { VmmError } from '@cloister/core';
import { GUESTDBG } from './abi/constants.js';
import { StructView } from './abi/struct.js';
import { GUEST_DEBUG } from './abi/structs.js';

export interface Breakpoint {
  /** Linear address. */
  readonly address: bigint;
  readonly kind: 'execute' | 'write' | 'access';
  /** Bytes watched: 1, 2, 4 or 8; 1 for `execute`. */
  readonly length?: 1 | 2 | 4 | 8;
}

export interface DebugRequest {
  /** A `debug` exit after every instruction. */
  readonly singleStep?: boolean;
  /** At most four. None and no single-step: debugging ends. */
  readonly breakpoints?: readonly Breakpoint[];
}

const MOST = 4;
const KIND = { execute: 0, write: 1, access: 3 } as const;
const LENGTH = { 1: 0, 2: 1, 4: 3, 8: 2 } as const;
/** Bit 10 of DR7 reads as one; LE and GE as compilers of old want them. */
const DR7_FIXED = 0x700;
const DEBUGREG = 8;

/** `struct kvm_guest_debug` for a request. */
export function guestDebug({ singleStep, breakpoints = [] }: DebugRequest): Uint8Array {
  if (breakpoints.length > MOST) {
    throw new VmmError('invalid-argument', `${breakpoints.length} breakpoints are too many`, {
      remedy: `a processor has ${MOST}`,
    });
  }
  let control = 0;
  if (singleStep) control |= GUESTDBG.ENABLE | GUESTDBG.SINGLESTEP;
  if (breakpoints.length > 0) control |= GUESTDBG.ENABLE | GUESTDBG.USE_HW_BP;
  const made = new StructView(GUEST_DEBUG).set('control', control);
  let dr7 = DR7_FIXED;
  breakpoints.forEach(({ address, kind, length = 1 }, index) => {
    made.view.setBigUint64(DEBUGREG + 8 * index, address, true);
    dr7 |= 2 << (2 * index);
    dr7 |= (KIND[kind] | (LENGTH[length] << 2)) << (16 + 4 * index);
  });
  made.view.setBigUint64(DEBUGREG + 8 * 7, BigInt(dr7 >>> 0), true);
  return made.bytes;
}
