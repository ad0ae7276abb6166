/**
 * What nobody answered: the architecture's answer, a count, and a fault event the first time that a
 * port or page is touched. A guest that scans addresses can't flood anybody: places are remembered
 * up to a bound, then only counted.
 */
import type { EventHub } from '../events/event-hub.js';
import type { GuestMemory, IoExit, MmioExit, VmExit } from '../interfaces/index.js';
import type { ExitCounters } from '../summary/exit-counters.js';
import type { ControlRequests } from './control.js';

const PLACES_MAX = 256;
const PAGE = 4096;
/** -ENOSYS of Linux' hypercall ABI (KVM_ENOSYS). */
const HYPERCALL_UNKNOWN = -1000;

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

export class Unclaimed {
  private readonly places = new Set<string | number>();

  constructor(
    private readonly events: EventHub,
    private readonly counters: ExitCounters,
    private readonly control: ControlRequests,
    private readonly memory: () => GuestMemory,
  ) {}

  take(exit: VmExit): void {
    switch (exit.kind) {
      case 'io':
        this.io(exit);
        return;
      case 'mmio':
        this.mmio(exit);
        return;
      case 'hypercall':
        exit.resultLo = HYPERCALL_UNKNOWN >>> 0;
        exit.resultHi = 0xffffffff;
        return;
      case 'msr':
        if (!exit.fault) return;
        if (this.isNew(`msr ${exit.index}`)) {
          this.report('unclaimed', `${exit.direction} of unknown MSR ${hex(exit.index)}`);
        }
        return;
      case 'system-event': {
        const message = exit.message ?? `the platform reported ${exit.event}`;
        if (exit.event === 'reset') this.control.reset(message);
        else if (exit.event === 'shutdown') this.control.powerOff(message);
        else if (exit.event === 'crash' || exit.event === 'sev-term') {
          this.control.ask({ kind: 'end', end: { reason: 'error', status: 0, message } });
        }
        return;
      }
      default:
    }
  }

  private io({ direction, port, size }: IoExit): void {
    this.counters.unclaimedIo++;
    if (!this.isNew(port)) return;
    this.report('unclaimed', `no device at port ${hex(port)} (${direction}, ${size} bytes)`);
  }

  private mmio({ direction, gpa, size }: MmioExit): void {
    this.counters.unclaimedMmio++;
    // Ports are the numbers from 0, pages those below.
    if (!this.isNew(-1 - Math.floor(gpa / PAGE))) return;
    if (direction === 'write' && this.memory().covers(gpa, size)) {
      this.report('rom-write', `write to read-only memory at ${hex(gpa)}`);
    } else {
      this.report('unclaimed', `no device at address ${hex(gpa)} (${direction}, ${size} bytes)`);
    }
  }

  private isNew(place: string | number): boolean {
    if (this.places.has(place) || this.places.size >= PLACES_MAX) return false;
    this.places.add(place);
    return true;
  }

  private report(kind: 'unclaimed' | 'rom-write', message: string): void {
    this.events.fault({ kind, message });
  }
}
