/**
 * The device kit itself: a sound device passes, and each broken one fails the check that is about
 * its fault.
 */
import { describe, expect, it } from 'vitest';
import type { Device, Snapshot, Timer } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import { type DeviceSubject, deviceKit } from './device-kit.js';
import type { KitPorts } from './device-kit-ports.js';

/** A counter with a register, a line that is high while it is odd, and a timer that adds one. */
class Counter implements Device {
  readonly name: string = 'counter';
  readonly regions: Device['regions'] = [{ space: 'io', base: 0x100, length: 2, name: 'counter' }];
  protected value = 0;
  protected at: number | null = null;
  protected timer: Timer | null = null;

  constructor(protected readonly ports: KitPorts) {}

  read(_region: number, offset: number, size: number): number {
    return offset === 0 ? this.value % 2 ** (8 * size) : 0;
  }

  write(_region: number, offset: number, _size: number, value: number): void {
    if (offset === 0) this.set(value & 0xff);
    else this.arm(this.ports.clock.now() + 1000);
  }

  protected set(value: number): void {
    this.value = value;
    this.ports.line().set((value & 1) !== 0);
  }

  protected arm(at: number | null): void {
    this.timer?.cancel();
    this.at = at;
    this.timer = at === null ? null : this.ports.clock.at(at, () => this.tick());
  }

  private tick(): void {
    this.at = null;
    this.set((this.value + 1) & 0xff);
  }

  async drain(): Promise<void> {}

  reset(): void {
    this.set(0);
    this.arm(null);
  }

  snapshot(): Snapshot {
    return { type: 'counter', version: 1, state: { value: this.value, at: this.at } };
  }

  restore({ type, version, state }: Snapshot): void {
    const fields = state as { value?: unknown; at?: unknown } | null;
    const isCount = (x: unknown): x is number => Number.isSafeInteger(x);
    const { value, at } = fields ?? {};
    const known = type === 'counter' && version === 1 && isCount(value) && value >= 0;
    if (!known || value > 0xff || (at !== null && !isCount(at))) {
      throw new VmmError('snapshot-mismatch', 'not a counter');
    }
    this.set(value);
    this.arm(at);
  }

  dispose(): void {
    this.arm(null);
  }
}

/** Runs the kit with a runner that collects; gives the names of the checks that fail. */
async function failures(make: DeviceSubject['make'], options: Partial<DeviceSubject> = {}) {
  const failed: string[] = [];
  const checks: Promise<void>[] = [];
  const runner = {
    describe: (_name: string, body: () => void) => body(),
    it: (name: string, body: () => void | Promise<void>) => {
      const check = async () => body();
      checks.push(check().catch(() => void failed.push(name)));
    },
  };
  deviceKit(runner, { name: 'subject', make, seeds: 5, steps: 200, ...options });
  await Promise.all(checks);
  return failed.join('\n');
}

deviceKit({ describe, it }, { name: 'a sound counter', make: (ports) => new Counter(ports) });

describe('the device kit catches', () => {
  it.each<[string, string, (ports: KitPorts) => Device]>([
    [
      'overlapping regions',
      'regions',
      (ports) =>
        new (class extends Counter {
          override readonly regions: Device['regions'] = [
            { space: 'io', base: 0x100, length: 2, name: 'a' },
            { space: 'io', base: 0x101, length: 2, name: 'b' },
          ];
        })(ports),
    ],
    [
      'an exception for a rare value',
      'takes any access',
      (ports) =>
        new (class extends Counter {
          protected override set(value: number): void {
            if (value === 0x55) throw new Error('rare');
            super.set(value);
          }
        })(ports),
    ],
    [
      'a value beyond the size of the access',
      'takes any access',
      (ports) =>
        new (class extends Counter {
          override read(): number {
            return this.value + 1;
          }
        })(ports),
    ],
    [
      'a signed value',
      'takes any access',
      (ports) =>
        new (class extends Counter {
          override read(): number {
            return (this.value << 24) >> 24;
          }
        })(ports),
    ],
    [
      'timers that pile up',
      'takes any access',
      (ports) =>
        new (class extends Counter {
          override read(...access: [number, number, number]): number {
            this.ports.clock.at(Number.MAX_SAFE_INTEGER, () => {});
            return super.read(...access);
          }
        })(ports),
    ],
    [
      'state outside the device',
      'repeats',
      (() => {
        let shared = 0;
        return (ports) =>
          new (class extends Counter {
            override read(): number {
              shared = (shared + 1) & 0xff;
              return shared;
            }
          })(ports);
      })(),
    ],
    [
      'a snapshot that is alive',
      'later accesses do not change',
      (ports) =>
        new (class extends Counter {
          private readonly live: { value: number; at: number | null } = { value: 0, at: null };
          override snapshot(): Snapshot {
            this.live.value = this.value;
            this.live.at = this.at;
            return { type: 'counter', version: 1, state: this.live };
          }
        })(ports),
    ],
    [
      'a snapshot that is not plain data',
      'plain data',
      (ports) =>
        new (class extends Counter {
          override snapshot(): Snapshot {
            const { type, version, state } = super.snapshot();
            const odd = { ...(state as object), when: new Map() };
            return { type, version, state: odd as unknown as null };
          }
        })(ports),
    ],
    [
      'a timer that is not restored',
      'into a fresh device',
      (ports) =>
        new (class extends Counter {
          override restore(snapshot: Snapshot): void {
            super.restore(snapshot);
            this.timer?.cancel();
          }
        })(ports),
    ],
    [
      'a line that is not driven by a restore',
      'into a fresh device',
      (ports) =>
        new (class extends Counter {
          override restore(snapshot: Snapshot): void {
            const before = this.ports.line().level;
            super.restore(snapshot);
            this.ports.line().set(before);
          }
        })(ports),
    ],
    [
      'an old timer that survives a restore',
      'into a used device',
      (ports) =>
        new (class extends Counter {
          override restore(snapshot: Snapshot): void {
            this.timer = null;
            super.restore(snapshot);
          }
        })(ports),
    ],
    [
      'a reset that forgets something',
      'resets',
      (ports) =>
        new (class extends Counter {
          override reset(): void {
            this.set(0);
          }
        })(ports),
    ],
    [
      'a later version that is taken',
      'refuses foreign',
      (ports) =>
        new (class extends Counter {
          override restore(snapshot: Snapshot): void {
            super.restore({ ...snapshot, version: Math.min(1, snapshot.version) });
          }
        })(ports),
    ],
    [
      'a refusal that leaves half of the new state',
      'refuses foreign',
      (ports) =>
        new (class extends Counter {
          override restore(snapshot: Snapshot): void {
            const { value } = (snapshot.state ?? {}) as { value?: unknown };
            if (typeof value === 'number' && value >= 0 && value < 256) this.set(value ^ 1);
            super.restore(snapshot);
          }
        })(ports),
    ],
    [
      'a refusal with another error',
      'refuses foreign',
      (ports) =>
        new (class extends Counter {
          override restore(snapshot: Snapshot): void {
            if (snapshot.version > 1) throw new TypeError('no');
            super.restore(snapshot);
          }
        })(ports),
    ],
    [
      'a timer that outlives the device',
      'drains',
      (ports) =>
        new (class extends Counter {
          override dispose(): void {
            this.ports.clock.at(Number.MAX_SAFE_INTEGER, () => {});
          }
        })(ports),
    ],
  ])('%s', async (_fault, check, make) => {
    expect(await failures(make)).toContain(check);
  });

  it('a snapshot beyond its bound', async () => {
    const make = (ports: KitPorts) => new Counter(ports);
    expect(await failures(make, { maxStateBytes: 3 })).toContain('bounded');
    expect(await failures(make)).toBe('');
  });

  it('what only an outside event shows', async () => {
    const make = (ports: KitPorts) => {
      const device = new Counter(ports);
      const poke = (bits: number) => {
        if (bits % 3 === 0) throw new Error('poked');
      };
      return { device, stimuli: [poke] };
    };
    expect(await failures(make)).toContain('takes any access');
  });
});
