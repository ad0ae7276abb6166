/**
 * Boot timer: a guest marks moments of its boot by writing a byte; each mark is stamped with
 * virtual time (one nanosecond per instruction with the instruction-counted clock).
 *
 * Source: our own, after the pseudo device by which Firecracker measures its guests' boot. Reads
 * give zero. Marks beyond `MARK_LIMIT` are counted only.
 */
import type {
  Clock,
  Device,
  DeviceRegion,
  ServiceToken,
  Snapshot,
  VmPlugin,
} from '../interfaces/index.js';
import { listUpTo, loadState, record, type StateFormat, saveState, time, u8 } from './state.js';

export interface BootMark {
  readonly value: number;
  /** Virtual nanoseconds since the VM's start. */
  readonly at: number;
}

export interface BootTimerOptions {
  readonly name?: string;
  /** I/O port, 0x5f0 unless given. Ignored where `mmio` is given. */
  readonly port?: number;
  /** Guest-physical address of a page that takes the byte at its start. */
  readonly mmio?: number;
  /** Called at each mark. */
  readonly onMark?: (mark: BootMark) => void;
}

export interface BootTimerPorts {
  readonly clock: Clock;
}

export interface BootTimer extends Device {
  /** Marks so far, in order. */
  readonly marks: readonly BootMark[];
  /** Marks beyond the limit, not kept. */
  readonly dropped: number;
}

/** The boot timer of a VM, where the plugin is in use. */
export const BOOT_TIMER: ServiceToken<Pick<BootTimer, 'marks' | 'dropped'>> = {
  key: Symbol.for('@cloister/core/boot-timer'),
};

const MARK_LIMIT = 256;

interface State {
  marks: BootMark[];
  dropped: number;
}

const FORMAT: StateFormat<State> = {
  type: 'boot-timer',
  version: 1,
  field: record<State>({
    marks: listUpTo(record<BootMark>({ value: u8, at: time }), MARK_LIMIT),
    dropped: time,
  }),
};

class Timer implements BootTimer {
  readonly name: string;
  readonly regions: readonly DeviceRegion[];
  readonly marks: BootMark[] = [];
  dropped = 0;

  constructor(
    private readonly options: BootTimerOptions,
    private readonly ports: BootTimerPorts,
  ) {
    this.name = options.name ?? 'boot-timer';
    this.regions = [
      options.mmio === undefined
        ? { space: 'io', base: options.port ?? 0x5f0, length: 1, name: this.name }
        : { space: 'mmio', base: options.mmio, length: 0x1000, name: this.name },
    ];
  }

  read(): number {
    return 0;
  }

  write(_region: number, offset: number, _size: number, value: number): void {
    if (offset !== 0) return;
    if (this.marks.length >= MARK_LIMIT) {
      this.dropped++;
      return;
    }
    const mark = { value: value & 0xff, at: this.ports.clock.now() };
    this.marks.push(mark);
    this.options.onMark?.(mark);
  }

  drain(): Promise<void> {
    return Promise.resolve();
  }

  reset(): void {
    this.marks.length = 0;
    this.dropped = 0;
  }

  snapshot(): Snapshot {
    return saveState(FORMAT, { marks: this.marks, dropped: this.dropped });
  }

  restore(snapshot: Snapshot): void {
    const { marks, dropped } = loadState(FORMAT, snapshot);
    this.marks.splice(0, this.marks.length, ...marks);
    this.dropped = dropped;
  }
}

/** The device. */
export function bootTimerDevice(
  options: BootTimerOptions = {},
): (ports: BootTimerPorts) => BootTimer {
  return (ports) => new Timer(options, ports);
}

/** Plugin: a boot timer; its marks are the service `BOOT_TIMER`. */
export function bootTimer(options: BootTimerOptions = {}): VmPlugin {
  return {
    name: 'boot-timer',
    version: '0.1.0',
    api: 1,
    requires: [],
    provides: ['boot-timer'],
    setup(context) {
      const device = bootTimerDevice(options)({ clock: context.clock });
      context.addDevice(device);
      context.provide(BOOT_TIMER, device);
    },
  };
}
