/**
 * What KVM does otherwise than the manuals on a host without hardware virtualization, where it
 * emulates kernel mode with its instruction emulator and runs user mode natively (kvm_pvm). For the
 * corpus of guest programs: program to reason.
 */
import { existsSync } from 'node:fs';

/** Whether this host's KVM is of that kind. */
export const isWeakHost = (): boolean => existsSync('/sys/module/kvm_pvm');

/** Stopped in the middle by an instruction that the emulator lacks: an `error` exit says so. */
export const STOPPED: Readonly<Record<string, string>> = {
  'real-exceptions': 'no BOUND in the instruction emulator',
  'triple-fault-real': "no limit of real mode's IDT: the guest runs on into what it cannot execute",
  'call-gates': 'no IRET to outer levels in protected mode',
  smap: 'no STAC in the instruction emulator',
  'enter-levels': 'no ENTER with nesting in the instruction emulator',
};

const USER_UD = 'INT, far calls and privileged instructions at CPL 3 raise #UD in place of #GP';
const BATCH = 'a pending interrupt waits for the end of a batch of emulated instructions';

/** Run to the end with another result. */
export const WRONG: Readonly<Record<string, string>> = {
  'flags-privilege': 'POPF at CPL 3 runs natively, with the privileges of that processor',
  'page-crossing': 'an emulated write that faults in its second page has written the first',
  'port-permission': 'IN and OUT by DX fault at CPL 3 with IOPL 3',
  'control-registers':
    'upper bits of CR0 and CR4 are not looked at; RDTSC at CPL 3 with TSD is #UD',
  msrs: 'reserved memory types of PAT are taken',
  syscall: 'SYSCALL stays at CPL 3',
  'alignment-check': '#AC at CPL 3 follows the host, not CR0.AM',
  x2apic: `reserved bits of the APIC's registers are taken; ${BATCH}`,
};

/** The same, for programs that need the assist to get so far. */
export const WRONG_ASSISTED: Readonly<Record<string, string>> = {
  'protected-exceptions': USER_UD,
  'call-gates': USER_UD,
  'long-gates': USER_UD,
  v86: 'virtual-8086 mode runs as real mode',
  'double-fault': 'a contributory fault during delivery of another fault is #DF always',
  'fpu-switch': 'FXSAVE to an unaligned area does not fault',
  'triple-fault-real': "no limit of real mode's IDT: the guest runs on for ever",
  'task-switch': 'an exception through a task gate shuts down',
  'debug-traps': 'breakpoints on data and ports are not looked at',
};

/** Right or wrong by chance. */
export const UNSTEADY: Readonly<Record<string, string>> = {
  'interrupt-shadow': BATCH,
  'rep-interrupt': BATCH,
  'apic-timer': BATCH,
  'tsc-deadline': BATCH,
  'apic-priority': BATCH,
  nmi: BATCH,
  'boot-sector': 'the PIT, by the wall clock, may be done before a slow guest looks',
};

/** Those of `WRONG_ASSISTED` that do not come to their end. */
export const UNFINISHED_ASSISTED: readonly string[] = ['triple-fault-real', 'task-switch'];
