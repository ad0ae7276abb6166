/**
 * What can be told of a VM at the end of a run, or at any moment of it.
 */
import type { Assembly } from '../assembly/assembly.js';
import type { VmEnd } from '../interfaces/index.js';
import type { VmSummary } from '../machine/vm.js';
import type { ExitCounters } from './exit-counters.js';

const BUSIEST_PORTS = 16;

export interface SummaryInput {
  readonly assembly: Assembly;
  readonly counters: ExitCounters;
  readonly entry: string | null;
  readonly clockWhy: string;
  readonly resets: number;
  readonly end: VmEnd | null;
  readonly busyMs: number;
}

/** The summary of a VM whose backend exists. */
export function summarize(input: SummaryInput): VmSummary {
  const { assembly, counters, entry, end } = input;
  const { options, clock, events } = assembly.parts;
  const vm = assembly.backendVm;
  const encryption = assembly.single('memory encryption');
  const source = assembly.single('boot source');
  return {
    instructions: Math.max(0, vm.instructions()),
    virtualTime: clock.now(),
    userModeAt: vm.userModeAt?.() ?? null,
    busyMs: input.busyMs,
    memory: options.memory,
    cpus: options.cpus,
    clock: { mode: clock.mode, why: input.clockWhy },
    seed: String(assembly.seed),
    epochSeconds: clock.epochSeconds,
    exits: {
      total: counters.total,
      byKind: counters.byKind(),
      byPort: counters.byPort(BUSIEST_PORTS),
      unclaimedIo: counters.unclaimedIo,
      unclaimedMmio: counters.unclaimedMmio,
    },
    backend: { name: assembly.single('backend')?.name ?? '', statistics: vm.statistics() },
    boot: entry === null || source === null ? null : { source: source.name, entry },
    protection:
      encryption === null
        ? null
        : {
            name: encryption.name,
            strength: encryption.strength,
            lines: encryption.summary(),
          },
    console: { written: events.console.written, unobserved: events.console.dropped },
    faults: events.faultCount,
    resets: input.resets,
    lines: assembly.summaries.flatMap(({ plugin, run }) => {
      try {
        return run();
      } catch (error) {
        events.pluginFault(plugin, 'its summary', error);
        return [];
      }
    }),
    end,
  };
}
