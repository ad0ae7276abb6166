/**
 * Which of a processor's events are exits of a SEV-ES guest, and by which exit code: what a VMCB
 * can intercept.
 *
 * Source: AMD64 APM vol. 2 (24593), 15.35.4 and table 15-35 (automatic and non-automatic exits);
 * appendix C (exit codes); 15.20 (types of injected events).
 */
import type { InterceptName } from '@cloister/core';
import { EVENT_TYPE, EXIT } from '../abi/vmcb.js';

const MSR_EFER = 0xc0000080;

/** Non-automatic exits by the event that makes them. */
export const NON_AUTOMATIC: Readonly<Partial<Record<InterceptName, number>>> = {
  cpuid: EXIT.CPUID,
  rdtsc: EXIT.RDTSC,
  rdtscp: EXIT.RDTSCP,
  rdpmc: EXIT.RDPMC,
  io: EXIT.IOIO,
  msr: EXIT.MSR,
  wbinvd: EXIT.WBINVD,
  invd: EXIT.INVD,
  monitor: EXIT.MONITOR,
  mwait: EXIT.MWAIT,
  vmmcall: EXIT.VMMCALL,
  xsetbv: EXIT.XSETBV,
  iret: EXIT.IRET,
};

/** Every event that some exit code stands for. */
export const EVENTS: readonly InterceptName[] = [
  ...(Object.keys(NON_AUTOMATIC) as InterceptName[]),
  ...(['cr-write-after', 'dr', 'hlt', 'shutdown'] as const),
];

/** The exit code of a write trap, by the register of `InterceptDetail.number`. */
export const WRITE_TRAPS: Readonly<Record<number, number>> = {
  0: EXIT.CR0_WRITE_TRAP,
  4: EXIT.CR4_WRITE_TRAP,
  8: EXIT.CR8_WRITE_TRAP,
  [MSR_EFER]: EXIT.EFER_WRITE_TRAP,
};

/** What is injected, by its type in the VMCB. */
export const EVENT_TYPES = {
  [EVENT_TYPE.INTERRUPT]: 'interrupt',
  [EVENT_TYPE.NMI]: 'nmi',
  [EVENT_TYPE.EXCEPTION]: 'exception',
  [EVENT_TYPE.SOFTWARE]: 'software',
} as const;
