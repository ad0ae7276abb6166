/**
 * Canonical exit traces: what two backends that are both right have in common.
 *
 * - Only what a program causes at a place of its own: port and memory accesses, MSR accesses that
 *   the host answers, shutdown, and errors. Instruction counts, `interrupted`, CPUID and the exits
 *   of HLT go: a backend with an interrupt controller of its own sleeps inside, and when it does
 *   depends on interrupts; what they did is counted by the guest's own handlers.
 * - One line for each item of port I/O, however many an exit carries (REP INS and OUTS).
 * - Neighbouring accesses to memory in one direction are one: a backend may split what crosses a
 *   page or is wide. So are two stores that the guest made one behind the other, on any backend.
 * - By CPU: how those of different CPUs interleave is nobody's promise.
 */
import type { MmioExit, VmExit } from '../interfaces/index.js';

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function bytesText(data: Iterable<number>): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

interface Access {
  readonly direction: MmioExit['direction'];
  readonly gpa: number;
  readonly bytes: number[];
}

/** The lines of one CPU, as they come. */
class CpuTrace {
  readonly lines: string[] = [];
  private access: Access | null = null;

  add(exit: VmExit): void {
    if (exit.kind === 'mmio') {
      this.mmio(exit);
      return;
    }
    const lines = linesOf(exit);
    if (lines.length === 0) return;
    this.flush();
    this.lines.push(...lines);
  }

  flush(): void {
    if (this.access === null) return;
    const { direction, gpa, bytes } = this.access;
    this.lines.push(`mmio ${direction} ${hex(gpa)} ${bytesText(bytes)}`);
    this.access = null;
  }

  private mmio({ direction, gpa, data }: MmioExit): void {
    const open = this.access;
    if (open?.direction === direction && open.gpa + open.bytes.length === gpa) {
      open.bytes.push(...data);
      return;
    }
    this.flush();
    this.access = { direction, gpa, bytes: [...data] };
  }
}

function linesOf(exit: VmExit): string[] {
  switch (exit.kind) {
    case 'io':
      return Array.from({ length: exit.count }, (_, item) => {
        const data = exit.data.subarray(item * exit.size, (item + 1) * exit.size);
        return `io ${exit.direction} ${hex(exit.port)} ${bytesText(data)}`;
      });
    case 'msr':
      return exit.fault
        ? []
        : [`msr ${exit.direction} ${hex(exit.index)} ${hex(exit.lo)} ${hex(exit.hi)}`];
    case 'shutdown':
      return ['shutdown'];
    case 'error':
      return [`error ${exit.code}`];
    case 'system-event':
      return [`system-event ${exit.event}`];
    default:
      return [];
  }
}

/** The canonical lines, `cpuN ` before each: all of CPU 0, then those of the next. */
export function canonicalize(exits: Iterable<VmExit>): string[] {
  const cpus = new Map<number, CpuTrace>();
  for (const exit of exits) {
    let trace = cpus.get(exit.vcpu);
    if (trace === undefined) cpus.set(exit.vcpu, (trace = new CpuTrace()));
    trace.add(exit);
  }
  const ascending = [...cpus].sort(([a], [b]) => a - b);
  return ascending.flatMap(([cpu, trace]) => {
    trace.flush();
    return trace.lines.map((line) => `cpu${cpu} ${line}`);
  });
}
