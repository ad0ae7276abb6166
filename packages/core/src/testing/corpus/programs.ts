/**
 * The programs of the corpus, by subject. The sources are in `guest/`, the manual's sections in
 * them; README.md says how to add one.
 */
import type { CorpusProgram } from './program.js';

export const CORPUS: readonly CorpusProgram[] = [
  // Exceptions.
  { name: 'real-exceptions', mode: 'real', about: 'exceptions and the frame in real mode' },
  {
    name: 'protected-exceptions',
    mode: 'protected',
    about: 'error codes of selectors and gates, frames by privilege',
    needs: ['int-protected'],
  },
  { name: 'long-exceptions', mode: 'long', about: 'exceptions, error codes, the aligned frame' },
  {
    name: 'exception-priority',
    mode: 'long',
    about: 'which exception of several is raised',
    needs: ['user-mode', 'sse', 'x87'],
  },
  { name: 'double-fault', mode: 'long', about: 'faults during delivery', needs: ['int3'] },
  { name: 'triple-fault-real', mode: 'real', about: 'shutdown', end: 'triple-fault' },
  { name: 'triple-fault-protected', mode: 'protected', about: 'shutdown', end: 'triple-fault' },
  { name: 'triple-fault-long', mode: 'long', about: 'shutdown', end: 'triple-fault' },

  {
    name: 'user-faults',
    mode: 'long',
    about: 'faults of user mode',
    needs: ['user-mode'],
  },

  // Instructions.
  { name: 'arithmetic', mode: 'long', about: 'integer arithmetic' },
  { name: 'addressing', mode: 'long', about: 'effective addresses and prefixes' },
  { name: 'stack', mode: 'long', about: 'the stack in 64-bit mode' },
  { name: 'enter-levels', mode: 'long', about: 'ENTER with nesting' },
  { name: 'atomics', mode: 'long', about: 'LOCK, XCHG, CMPXCHG' },
  { name: 'real-data', mode: 'real', about: 'data and control flow in real mode' },
  { name: 'user-vector', mode: 'long', about: 'SSE2 in user mode', needs: ['user-mode'] },
  { name: 'user-x87', mode: 'long', about: 'x87 in user mode', needs: ['user-mode'] },

  // Modes and segments.
  { name: 'mode-switch', mode: 'real', about: 'real to long mode and back' },
  {
    name: 'v86',
    mode: 'protected',
    about: 'virtual-8086 mode',
    needs: ['v86', 'int-protected'],
  },
  {
    name: 'segment-limits',
    mode: 'protected',
    about: 'limits, expand-down, addresses that wrap',
    needs: ['lar'],
  },
  {
    name: 'task-switch',
    mode: 'protected',
    about: 'task switching in hardware',
    needs: ['task-switch', 'int-protected'],
  },
  {
    name: 'task-exceptions',
    mode: 'protected',
    about: 'exceptions through task gates, #TS in the new task',
    needs: ['task-switch'],
  },
  { name: 'segment-info', mode: 'protected', about: 'LAR, LSL, VERR, VERW, ARPL', needs: ['lar'] },
  { name: 'call-gates', mode: 'protected', about: 'far calls and returns between levels' },
  {
    name: 'long-gates',
    mode: 'long',
    about: 'gates, IST and IRET in long mode',
    needs: ['int3', 'user-mode'],
  },
  {
    name: 'flags-privilege',
    mode: 'long',
    about: 'what POPF and IRET may change',
    needs: ['user-mode', 'cpuid:lahf_lm'],
  },

  { name: 'state', mode: 'long', about: 'registers that the host sets and reads' },
  {
    name: 'control-registers',
    mode: 'long',
    about: 'what CR0, CR3, CR4 and CR8 take',
    needs: ['user-mode'],
  },
  {
    name: 'msrs',
    mode: 'long',
    about: 'MSRs of host and processor',
    needs: ['user-mode'],
  },
  { name: 'syscall', mode: 'long', about: 'SYSCALL and SYSRET', needs: ['syscall'] },
  {
    name: 'sysenter',
    mode: 'protected',
    about: 'SYSENTER and SYSEXIT',
    needs: ['cpuid:sep', 'sysenter'],
  },
  { name: 'umip', mode: 'long', about: 'CR4.UMIP', needs: ['cpuid:umip', 'user-mode'] },
  {
    name: 'smap',
    mode: 'long',
    about: 'SMAP, STAC and CLAC, SMEP',
    needs: ['cpuid:smap', 'cpuid:smep', 'user-mode'],
  },
  { name: 'pcid', mode: 'long', about: 'PCIDs', needs: ['cpuid:pcid', 'cpuid:invpcid'] },
  {
    name: 'fpu-switch',
    mode: 'long',
    about: 'CR0.TS, FXSAVE, unmasked exceptions',
    needs: ['x87', 'sse'],
  },
  { name: 'alignment-check', mode: 'long', about: '#AC', needs: ['user-mode'] },

  {
    name: 'debug-traps',
    mode: 'long',
    about: 'single step, breakpoints, general detect',
    needs: ['debug-registers', 'single-step', 'icebp'],
  },

  // Memory and code.
  { name: 'tlb', mode: 'long', about: 'page tables that change' },
  { name: 'self-modifying', mode: 'long', about: 'code that changes itself' },
  {
    name: 'page-crossing',
    mode: 'long',
    about: 'accesses across pages, and faults of their halves',
    needs: ['user-mode'],
  },
  { name: 'wrap', mode: 'real', about: 'addresses that wrap at 64 KiB' },
  { name: 'strings', mode: 'long', about: 'string instructions' },
  {
    name: 'rep-interrupt',
    mode: 'long',
    about: 'REP goes on after interrupts',
    needs: ['apic-timer'],
  },

  // Interrupts.
  {
    name: 'interrupt-shadow',
    mode: 'long',
    about: 'STI and MOV SS',
    needs: ['cpuid:x2apic', 'x2apic'],
  },
  { name: 'apic-timer', mode: 'long', about: 'timer of the local APIC', needs: ['apic-timer'] },
  {
    name: 'tsc-deadline',
    mode: 'long',
    about: 'the timer by TSC',
    needs: ['cpuid:tsc_deadline', 'apic-timer'],
  },
  { name: 'apic-priority', mode: 'long', about: 'priorities, EOI, CR8' },
  { name: 'x2apic', mode: 'long', about: 'x2APIC', needs: ['cpuid:x2apic', 'x2apic'] },
  { name: 'nmi', mode: 'long', about: 'NMI and its blocking' },
  { name: 'smp', mode: 'long', about: 'a second CPU, IPIs, atomics', cpus: 2, needs: ['smp'] },
  {
    name: 'cross-modifying',
    mode: 'long',
    about: 'code that another CPU changes',
    cpus: 2,
    limit: 5_000_000,
    needs: ['smp'],
  },

  // Input and output.
  { name: 'ports', mode: 'real', about: 'IN, OUT, INS and OUTS of every size' },
  {
    name: 'boot-sector',
    mode: 'real',
    about: 'a boot sector with serial port, CMOS, PIT and PIC',
    pc: true,
    limit: 5_000_000,
    console: 'serial, CMOS, PIT, PIC\r\n',
  },
  { name: 'port-permission', mode: 'long', about: 'IOPL and bitmap', needs: ['user-mode'] },
  { name: 'mmio', mode: 'long', about: 'accesses outside memory, of every size and across pages' },
];

/** What finds out whether a backend has what a program needs; `probe-` and the need's name. */
export const PROBES: readonly CorpusProgram[] = [
  { name: 'probe-apic-timer', mode: 'long', about: "the local APIC's timer" },
  { name: 'probe-debug-registers', mode: 'long', about: 'breakpoints by debug registers' },
  { name: 'probe-features', mode: 'long', about: 'CPUID' },
  { name: 'probe-icebp', mode: 'long', about: 'ICEBP' },
  { name: 'probe-int3', mode: 'long', about: 'INT3 and INT n in long mode' },
  { name: 'probe-int-protected', mode: 'protected', about: 'INT3 and INT n in protected mode' },
  { name: 'probe-lar', mode: 'long', about: 'LAR, LSL, VERR' },
  { name: 'probe-pae', mode: 'protected', about: 'PAE paging outside long mode' },
  { name: 'probe-paging-32', mode: 'protected', about: 'two-level paging' },
  { name: 'probe-single-step', mode: 'long', about: 'TF' },
  { name: 'probe-smp', mode: 'long', about: 'a second CPU', cpus: 2 },
  { name: 'probe-sse', mode: 'long', about: 'SSE in kernel mode' },
  { name: 'probe-syscall', mode: 'long', about: 'SYSCALL' },
  { name: 'probe-sysenter', mode: 'protected', about: 'SYSENTER' },
  { name: 'probe-task-switch', mode: 'protected', about: 'task switching' },
  { name: 'probe-user-mode', mode: 'long', about: 'CPL 3' },
  { name: 'probe-v86', mode: 'protected', about: 'virtual-8086 mode' },
  { name: 'probe-x2apic', mode: 'long', about: 'x2APIC' },
  { name: 'probe-x87', mode: 'long', about: 'x87 in kernel mode' },
];

/** Programs that a driver feeds with cases, see `paging/`. */
export const DRIVEN: readonly CorpusProgram[] = [
  { name: 'paging-legacy', mode: 'protected', about: 'accesses through 32-bit and PAE tables' },
  { name: 'paging-long', mode: 'long', about: 'accesses through tables of 4 and 5 levels' },
];

/** Where random bytes run that the host puts at `RANDOM_AT`; they end when their host says so. */
export const HOSTILE: readonly CorpusProgram[] = [
  { name: 'random-real', mode: 'real', about: 'random bytes in real mode' },
  { name: 'random-v86', mode: 'protected', about: 'random bytes in virtual-8086 mode' },
  { name: 'random-protected', mode: 'protected', about: 'random bytes in protected mode' },
  { name: 'random-long', mode: 'long', about: 'random bytes in long mode, on every CPU' },
];
export const RANDOM_AT = 0x20000;
export const RANDOM_SIZE = 0x10000;
