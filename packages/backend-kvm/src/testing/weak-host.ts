/**
 * What KVM does otherwise than the manuals on a host without hardware virtualization, where it
 * emulates kernel mode with its instruction emulator and runs user mode natively (kvm_pvm). For the
 * corpus of guest programs: by program the reason, and the results that it makes wrong. None of it
 * is told by an exit, so that no helper can mend it.
 */
import { existsSync } from 'node:fs';
import type { Deviation } from '@cloister/core/testing';

type Deviations = Readonly<Record<string, Deviation>>;

/** Whether this host's KVM is of that kind. */
export const isWeakHost = (): boolean => existsSync('/sys/module/kvm_pvm');

/** Stopped in the middle by an instruction that the emulator lacks: an `error` exit says so. */
export const STOPPED: Deviations = {
  'real-exceptions': { why: 'no BOUND in the instruction emulator' },
  'call-gates': { why: 'no IRET to outer levels in protected mode' },
  smap: { why: 'no STAC in the instruction emulator' },
  'enter-levels': { why: 'no ENTER with nesting in the instruction emulator' },
};

const USER_UD = 'INT, far calls and privileged instructions at CPL 3 raise #UD in place of #GP';
const BATCH = 'a pending interrupt waits for the end of a batch of emulated instructions';

/** Run to the end with another result. */
export const WRONG: Deviations = {
  'triple-fault-real': {
    why: "no limit of real mode's IDT: an exception behind it goes on",
    differs: ['ended by debug-exit', 'exit 0'],
  },
  'flags-privilege': {
    why: 'POPF at CPL 3 runs natively, with the privileges and the IF of that processor',
    differs: ['POPF at CPL 3, IOPL 0', 'IF changes, IOPL does not', 'RFLAGS behind IRET'],
  },
  'page-crossing': {
    why: 'an emulated write that faults in its second page has written the first',
    differs: ['nothing was written', 'and nothing was written'],
  },
  'port-permission': {
    why: 'at CPL 3 with IOPL 3, IN and OUT by DX and CLI fault',
    differs: ['IOPL 3 needs no bitmap', 'CLI with IOPL 3', 'exit 0: cpu0 io in 0xe3'],
  },
  'control-registers': {
    why: 'upper bits of CR0 and CR4 are not looked at; RDTSC at CPL 3 with TSD is #UD',
    differs: ['an upper bit of CR0', 'an upper bit of CR4', 'RDTSC at CPL 3 with TSD'],
  },
  msrs: { why: 'reserved memory types of PAT are taken', differs: ['a reserved memory type'] },
  syscall: {
    why: 'SYSCALL stays at CPL 3, from where SYSRET is refused',
    differs: [
      'SYSRET without EFER.SCE: instruction pointer',
      'CS inside',
      'SS inside',
      'RFLAGS inside',
      'CS after SYSRET',
      'SS after SYSRET',
      'RFLAGS after SYSRET',
      'RSP after SYSRET',
      'CS of compatibility mode',
    ],
  },
  'alignment-check': {
    why: '#AC at CPL 3 follows the host, not CR0.AM',
    differs: ['AM is clear'],
  },
  'apic-priority': {
    why: 'an interrupt in service is not in ISR, and does not hold back others of its class',
    differs: ['nesting', 'ISR inside', 'PPR inside'],
  },
  x2apic: {
    why: "reserved bits of the APIC's registers are taken",
    differs: ['EOI other than 0', 'a reserved bit of the TPR'],
  },
};

/** The same, for programs that need the assist to get so far. */
export const WRONG_ASSISTED: Deviations = {
  'protected-exceptions': {
    why: USER_UD,
    differs: ['INT to a gate of DPL 0', 'INT3 to a gate of DPL 0'],
  },
  'call-gates': {
    why: USER_UD,
    differs: [
      'CS behind the gate',
      'the inner stack: six words',
      'the last parameter',
      'the first parameter',
      'ESP in the frame',
      'CS in the frame',
      'the outer stack, parameters released',
      'a gate of DPL 0 from CPL 3',
    ],
  },
  'long-gates': {
    why: USER_UD,
    differs: [
      'RSP by RSP0',
      'RSP in the frame',
      'SS behind a change of privilege',
      'SS in the frame',
      'INT to a gate of DPL 0',
      'INT to an empty gate',
      'four quadwords',
      'SS behind the gate',
      'CS behind the gate',
      'IRET to data: error code',
    ],
  },
  v86: {
    why: 'virtual-8086 mode runs as real mode',
    differs: [
      'FS after the interrupt',
      'GS after the interrupt',
      ...['GS', 'FS', 'DS', 'ES', 'SS', 'ESP', 'VM'].map((register) => `${register} in the frame`),
      'nine words',
      'PUSHF, IOPL 0',
      'POPF, IOPL 0',
      'IRET, IOPL 0',
      'INT 20, IOPL',
      'LLDT',
      'behind INT',
      'VM, IOPL, IF in the frame',
      'a port of the bitmap',
      'a word of which half is allowed',
      'exit 0: cpu0 io in 0x80',
    ],
  },
  'double-fault': {
    why: 'a contributory fault during delivery of another fault is #DF always',
    differs: [
      '#UD, then #NP',
      'CR2 of the second',
      '#DE, then #PF',
      '#UD by a gate with a null selector',
    ],
  },
  'fpu-switch': {
    why: 'FXSAVE to an unaligned area does not fault',
    differs: ['FXSAVE to an unaligned area'],
  },
  // Exceptions nest until they have written over the descriptor tables: all that it checks.
  'task-exceptions': { why: 'an exception through a task gate ends in a shutdown' },
  'debug-traps': {
    why: 'breakpoints on data and ports are not looked at; POPF that clears TF is not traced',
    differs: [
      'three iterations, PUSH and POPF',
      'a write to the last byte',
      'a write that overlaps it',
      'a read',
      'PUSH',
      'OUT',
    ],
  },
};

/** Right or wrong by chance: what else the host does ends a batch as well. */
export const UNSTEADY: Readonly<Record<string, string>> = {
  'interrupt-shadow': BATCH,
  'rep-interrupt': BATCH,
  'apic-timer': BATCH,
  'tsc-deadline': BATCH,
  'boot-sector': 'the PIT, by the wall clock, may be done before a slow guest looks',
};
