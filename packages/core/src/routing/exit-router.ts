/**
 * Finds who answers an exit: handlers of priority 0 and above by precedence, then the devices, then
 * handlers of negative priority, which thus see only what no device claims.
 *
 * An exit is looked up by its first port, address, index or number. Nothing is allocated and
 * nobody is asked in vain: with no handler over a port the device is called directly.
 */
import type {
  AnyExitHandler,
  Device,
  ExitRouter,
  IoExit,
  MmioExit,
  VmExit,
  VmExitKind,
} from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import type { Claim } from './device-bus.js';
import { DeviceBus } from './device-bus.js';
import type { Chain } from './range-map.js';
import { RangeMap } from './range-map.js';

const DEFAULT_PRIORITY = 10;
const DEVICE_PRIORITY = 0;

/** A handler with its kind forgotten: the router calls it with exits of its kind only. */
interface Entry {
  readonly name: string;
  readonly plugin: string | undefined;
  readonly handle: (exit: VmExit) => 'handled' | 'pass';
}

export interface RouterReports {
  /** A handler or device threw. */
  fault(plugin: string | undefined, who: string, error: unknown): void;
}

interface Bounds {
  readonly base: number;
  readonly end: number;
}

function boundsOf({ filter, name }: AnyExitHandler): Bounds {
  const range =
    filter.kind === 'io'
      ? filter.ports
      : filter.kind === 'mmio'
        ? filter.range
        : filter.kind === 'msr'
          ? filter.indices
          : filter.kind === 'hypercall'
            ? filter.numbers
            : undefined;
  if (range === undefined) return { base: 0, end: Number.POSITIVE_INFINITY };
  const { base, length } = range;
  if (!Number.isSafeInteger(base) || !Number.isSafeInteger(length) || base < 0 || length <= 0) {
    throw new VmmError('invalid-argument', `the filter of exit handler ${name} is no range`);
  }
  return { base, end: base + length };
}

export class Router implements ExitRouter {
  readonly bus: DeviceBus;
  private readonly maps = new Map<VmExitKind, RangeMap<Entry>>();
  private readonly ioMap: RangeMap<Entry>;
  private readonly mmioMap: RangeMap<Entry>;
  /** Whether the bus alone answers accesses. */
  private onlyIoDevices = true;
  private onlyMmioDevices = true;

  constructor(private readonly reports: RouterReports) {
    this.bus = new DeviceBus((claim, error) => this.deviceFault(claim, error));
    this.ioMap = this.mapOf('io');
    this.mmioMap = this.mapOf('mmio');
  }

  add(handler: AnyExitHandler, plugin?: string): void {
    const { name, filter } = handler;
    const priority = handler.priority ?? DEFAULT_PRIORITY;
    if (!Number.isFinite(priority)) {
      throw new VmmError('invalid-argument', `the priority of exit handler ${name} is no number`);
    }
    const { base, end } = boundsOf(handler);
    const map = this.mapOf(filter.kind);
    const rival = map.rival(base, end, priority);
    if (rival !== undefined) this.refuse(`exit handler ${name}`, rival.value.name, filter.kind);
    if (priority === DEVICE_PRIORITY) {
      const claims =
        filter.kind === 'io' ? this.bus.io : filter.kind === 'mmio' ? this.bus.mmio : [];
      const claim = claims.find((each) => base < each.end && each.base < end);
      if (claim !== undefined) {
        this.refuse(`exit handler ${name}`, `device ${claim.device.name}`, filter.kind);
      }
    }
    const handle = handler.handle.bind(handler) as Entry['handle'];
    map.add({ base, end, priority, value: { name, plugin, handle } });
    this.onlyIoDevices = this.ioMap.items.length === 0;
    this.onlyMmioDevices = this.mmioMap.items.length === 0;
  }

  /** Puts a device on the bus. */
  addDevice(device: Device, plugin?: string): void {
    for (const { space, base, length } of device.regions) {
      const map = space === 'io' ? this.ioMap : this.mmioMap;
      const rival = map.rival(base, base + length, DEVICE_PRIORITY);
      if (rival !== undefined) {
        this.refuse(`device ${device.name}`, `exit handler ${rival.value.name}`, space);
      }
    }
    this.bus.add(device, plugin);
  }

  route(exit: VmExit): boolean {
    if (exit.kind === 'io') {
      return this.onlyIoDevices ? this.bus.accessIo(exit) : this.routeIo(exit);
    }
    if (exit.kind === 'mmio') {
      return this.onlyMmioDevices ? this.bus.accessMmio(exit) : this.routeMmio(exit);
    }
    return this.routeOther(exit);
  }

  private routeIo(exit: IoExit): boolean {
    const chain = this.ioMap.find(exit.port);
    return (
      (chain.above.length > 0 && this.ask(chain.above, exit)) ||
      this.bus.accessIo(exit) ||
      (chain.below.length > 0 && this.ask(chain.below, exit))
    );
  }

  private routeMmio(exit: MmioExit): boolean {
    const chain = this.mmioMap.find(exit.gpa);
    return (
      (chain.above.length > 0 && this.ask(chain.above, exit)) ||
      this.bus.accessMmio(exit) ||
      (chain.below.length > 0 && this.ask(chain.below, exit))
    );
  }

  private routeOther(exit: Exclude<VmExit, IoExit | MmioExit>): boolean {
    switch (exit.kind) {
      case 'msr':
        return this.askAll(this.maps.get('msr')?.find(exit.index), exit);
      case 'hypercall':
        return this.askAll(this.maps.get('hypercall')?.find(exit.number), exit);
      default:
        return this.askAll(this.maps.get(exit.kind)?.find(0), exit);
    }
  }

  /** Kinds that some handler filters. */
  kinds(): ReadonlySet<VmExitKind> {
    return new Set([...this.maps].filter(([, map]) => map.items.length > 0).map(([kind]) => kind));
  }

  private mapOf(kind: VmExitKind): RangeMap<Entry> {
    let map = this.maps.get(kind);
    if (map === undefined) {
      map = new RangeMap<Entry>();
      this.maps.set(kind, map);
    }
    return map;
  }

  private askAll(chain: Chain<Entry> | undefined, exit: VmExit): boolean {
    if (chain === undefined) return false;
    return this.ask(chain.above, exit) || this.ask(chain.below, exit);
  }

  private ask(entries: readonly Entry[], exit: VmExit): boolean {
    for (const entry of entries) {
      try {
        if (entry.handle(exit) === 'handled') return true;
      } catch (error) {
        this.reports.fault(entry.plugin, `exit handler ${entry.name}`, error);
      }
    }
    return false;
  }

  private deviceFault(claim: Claim, error: unknown): void {
    this.reports.fault(claim.plugin, `device ${claim.device.name}`, error);
  }

  private refuse(who: string, rival: string, kind: VmExitKind): never {
    throw new VmmError('plugin-conflict', `${who} and ${rival} filter the same ${kind} exits`, {
      remedy: 'give one of them another priority or range',
    });
  }
}
