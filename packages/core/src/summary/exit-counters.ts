/**
 * Counts of exits: by kind, by port, by what nobody answered.
 */
import type { VmExit, VmExitKind } from '../interfaces/index.js';

const PORTS = 0x10000;

/** Accesses to one port. */
export interface PortCount {
  readonly port: number;
  readonly count: number;
}

export class ExitCounters {
  /** The frequent kinds have fields of their own, which are found without their names. */
  private io = 0;
  private mmio = 0;
  private readonly kinds: Record<Exclude<VmExitKind, 'io' | 'mmio'>, number> = {
    hlt: 0,
    cpuid: 0,
    msr: 0,
    hypercall: 0,
    'memory-fault': 0,
    shutdown: 0,
    vmgexit: 0,
    'system-event': 0,
    interrupted: 0,
    debug: 0,
    error: 0,
  };
  private readonly ports = new Float64Array(PORTS);
  unclaimedIo = 0;
  unclaimedMmio = 0;

  count(exit: VmExit): void {
    if (exit.kind === 'io') {
      this.io++;
      this.ports[exit.port]!++;
    } else if (exit.kind === 'mmio') this.mmio++;
    else this.kinds[exit.kind]++;
  }

  get total(): number {
    return this.byKind().reduce((sum, [, count]) => sum + count, 0);
  }

  /** Kinds that occurred, most frequent first. */
  byKind(): [VmExitKind, number][] {
    const { io, mmio, kinds } = this;
    return (Object.entries({ io, mmio, ...kinds }) as [VmExitKind, number][])
      .filter(([, count]) => count > 0)
      .sort(([, a], [, b]) => b - a);
  }

  /** The `limit` busiest ports, busiest first. */
  byPort(limit: number): PortCount[] {
    const busy: PortCount[] = [];
    this.ports.forEach((count, port) => {
      if (count > 0) busy.push({ port, count });
    });
    return busy.sort((a, b) => b.count - a.count || a.port - b.port).slice(0, limit);
  }
}
