// Routing: precedence, conflicts, how accesses are split, and what throws.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AnyExitHandler, Device, IoExit, MmioExit, VmExit } from '../interfaces/index.js';
import { Router } from './exit-router.js';

function router(): { router: Router; faults: string[] } {
  const faults: string[] = [];
  const made = new Router({
    fault: (plugin, who, error) => faults.push(`${plugin} ${who}: ${(error as Error).message}`),
  });
  return { router: made, faults };
}

function out(port: number, data: readonly number[], size = data.length): IoExit {
  return {
    kind: 'io',
    vcpu: 0,
    instructions: 0,
    direction: 'out',
    port,
    size,
    count: data.length / size,
    data: Uint8Array.from(data),
  };
}

function input(port: number, size: number, count = 1): IoExit {
  const data = new Uint8Array(size * count).fill(0xff);
  return { kind: 'io', vcpu: 0, instructions: 0, direction: 'in', port, size, count, data };
}

function mmio(direction: 'read' | 'write', gpa: number, data: readonly number[]): MmioExit {
  const size = data.length;
  return {
    kind: 'mmio',
    vcpu: 0,
    instructions: 0,
    direction,
    gpa,
    size,
    data: Uint8Array.from(data),
  };
}

function handler(name: string, rest: Partial<AnyExitHandler>, log: string[] = []): AnyExitHandler {
  return {
    name,
    filter: { kind: 'io', ports: { base: 0x10, length: 0x10 } },
    handle: () => {
      log.push(name);
      return 'handled';
    },
    ...rest,
  } as AnyExitHandler;
}

/** Notes accesses; reads give the offset in each byte. */
function device(
  name: string,
  space: 'io' | 'mmio',
  base: number,
  length: number,
  log: string[],
): Device {
  return {
    name,
    regions: [{ space, base, length, name }],
    read(_region, offset, size) {
      log.push(`${name} r${size}@${offset}`);
      let value = 0;
      for (let i = size - 1; i >= 0; i--) value = value * 256 + ((offset + i) & 0xff);
      return value;
    },
    write(_region, offset, size, value) {
      log.push(`${name} w${size}@${offset}=${value.toString(16)}`);
    },
    drain: async () => {},
    reset: () => {},
    snapshot: () => ({ type: name, version: 1, state: null }),
    restore: () => {},
  };
}

describe('precedence', () => {
  test('the highest priority is asked first, and may pass', () => {
    const { router: routes } = router();
    const log: string[] = [];
    routes.addDevice(device('dev', 'io', 0x18, 4, log));
    routes.add(handler('last', { priority: -1 }, log));
    routes.add(handler('default', {}, log));
    const pass = () => {
      log.push('first');
      return 'pass' as const;
    };
    routes.add(handler('first', { priority: 99, handle: pass }, log));
    expect(routes.route(out(0x18, [1]))).toBe(true);
    expect(log).toEqual(['first', 'default']);
  });

  test('devices come at 0, below handlers by default and above negative ones', () => {
    const { router: routes } = router();
    const log: string[] = [];
    routes.addDevice(device('dev', 'io', 0x18, 4, log));
    routes.add(handler('after', { priority: -1 }, log));
    routes.add(handler('before', { handle: () => void log.push('before') as never }, log));
    routes.route(out(0x18, [1]));
    routes.route(out(0x11, [2]));
    expect(log).toEqual(['before', 'dev w1@0=1', 'before', 'after']);
  });

  test('a filter without a range sees every exit of its kind, another kind none', () => {
    const { router: routes } = router();
    const log: string[] = [];
    routes.add(handler('all', { filter: { kind: 'msr' } }, log));
    const exit = (index: number): VmExit => ({
      kind: 'msr',
      vcpu: 0,
      instructions: 0,
      direction: 'read',
      index,
      lo: 0,
      hi: 0,
      fault: true,
    });
    expect(routes.route(exit(0))).toBe(true);
    expect(routes.route(exit(0xc0000080))).toBe(true);
    expect(routes.route({ kind: 'hlt', vcpu: 0, instructions: 0, interruptible: true })).toBe(
      false,
    );
    expect([...routes.kinds()]).toEqual(['msr']);
  });

  test('is what a list of filters searched one by one would give', () => {
    const filters = fc.array(
      fc.record({
        base: fc.nat(40),
        length: fc.integer({ min: 1, max: 20 }),
        priority: fc.integer({ min: -3, max: 3 }),
        passes: fc.boolean(),
      }),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(filters, fc.array(fc.nat(60)), (list, ports) => {
        const { router: routes } = router();
        const log: string[] = [];
        const accepted = list.filter(({ base, length, priority, passes }, index) => {
          const handle = () => {
            log.push(`h${index}`);
            return passes ? ('pass' as const) : ('handled' as const);
          };
          const filter = { kind: 'io', ports: { base, length } } as const;
          try {
            routes.add({ name: `h${index}`, filter, priority, handle });
            return true;
          } catch {
            return false;
          }
        });
        for (const port of ports) {
          const expected: string[] = [];
          for (const each of [...accepted].sort((a, b) => b.priority - a.priority)) {
            if (port < each.base || port >= each.base + each.length) continue;
            expected.push(`h${list.indexOf(each)}`);
            if (!each.passes) break;
          }
          log.length = 0;
          const answered = routes.route(out(port, [0]));
          expect(log).toEqual(expected);
          expect(answered).toBe(
            accepted.some((each) => log.at(-1) === `h${list.indexOf(each)}` && !each.passes),
          );
        }
      }),
    );
  });
});

describe('conflicts', () => {
  test('name both handlers; other priorities, ranges and kinds go together', () => {
    const { router: routes } = router();
    routes.add(handler('one', {}));
    const overlap = { filter: { kind: 'io', ports: { base: 0x1f, length: 9 } } } as const;
    expect(() => routes.add(handler('two', overlap))).toThrow(
      'exit handler two and one filter the same io exits',
    );
    routes.add(handler('three', { ...overlap, priority: 11 }));
    routes.add(handler('four', { filter: { kind: 'io', ports: { base: 0x20, length: 9 } } }));
    routes.add(handler('five', { filter: { kind: 'mmio', range: { base: 0x10, length: 9 } } }));
  });

  test('hold between devices and handlers of priority 0, whoever comes first', () => {
    const { router: routes } = router();
    routes.addDevice(device('dev', 'io', 0x18, 4, []));
    expect(() => routes.add(handler('zero', { priority: 0 }))).toThrow(
      'exit handler zero and device dev',
    );
    const later = router().router;
    later.add(handler('zero', { priority: 0 }));
    expect(() => later.addDevice(device('dev', 'io', 0x18, 4, []))).toThrow(
      'device dev and exit handler zero',
    );
  });

  test.each([
    { base: -1, length: 2 },
    { base: 0, length: 0 },
    { base: 0.5, length: 1 },
    { base: 0, length: Number.NaN },
  ])('a filter of %o is no range', (ports) => {
    expect(() => router().router.add(handler('odd', { filter: { kind: 'io', ports } }))).toThrow(
      'the filter of exit handler odd is no range',
    );
  });

  test.each([
    ['io', 0xffff, 2],
    ['io', -1, 1],
    ['mmio', 2 ** 52 - 1, 2],
    ['mmio', 0, 0],
  ] as const)('a %s region at %d of %d is out of range', (space, base, length) => {
    expect(() => router().router.addDevice(device('dev', space, base, length, []))).toThrow(
      'region dev/dev is out of range',
    );
  });
});

describe('accesses', () => {
  const made = () => {
    const { router: routes } = router();
    const log: string[] = [];
    routes.addDevice(device('a', 'io', 0x100, 4, log));
    routes.addDevice(device('b', 'io', 0x104, 2, log));
    routes.addDevice(device('m', 'mmio', 0x1000, 0x10, log));
    routes.addDevice(device('n', 'mmio', 0x1010, 0x10, log));
    return { routes, log };
  };

  test('inside a region reach the device whole', () => {
    const { routes, log } = made();
    routes.route(out(0x100, [1, 2, 3, 0xff]));
    const exit = input(0x102, 2);
    routes.route(exit);
    expect(log).toEqual(['a w4@0=ff030201', 'a r2@2']);
    expect([...exit.data]).toEqual([2, 3]);
  });

  test('across a region’s end are split there, lowest address first', () => {
    const { routes, log } = made();
    const exit = input(0x103, 4);
    expect(routes.route(exit)).toBe(true);
    expect(log).toEqual(['a r1@3', 'b r2@0']);
    expect([...exit.data]).toEqual([3, 0, 1, 0xff]);
  });

  test('of strings come item by item', () => {
    const { routes, log } = made();
    routes.route(out(0x105, [1, 2, 3], 1));
    routes.route(out(0x103, [1, 2, 3, 4], 2));
    expect(log).toEqual([
      'b w1@1=1',
      'b w1@1=2',
      'b w1@1=3',
      'a w1@3=1',
      'b w1@0=2',
      'a w1@3=3',
      'b w1@0=4',
    ]);
  });

  test('wider than four bytes, or of odd sizes, are split', () => {
    const { routes, log } = made();
    const exit = mmio('read', 0x100c, [9, 9, 9, 9, 9, 9, 9, 9]);
    routes.route(exit);
    routes.route(mmio('write', 0x1000, [1, 2, 3]));
    routes.route(mmio('write', 0x1000, [1, 2, 3, 4, 5, 6, 7, 8]));
    expect(log).toEqual([
      'm r4@12',
      'n r4@0',
      'm w2@0=201',
      'm w1@2=3',
      'm w4@0=4030201',
      'm w4@4=8070605',
    ]);
    expect([...exit.data]).toEqual([12, 13, 14, 15, 0, 1, 2, 3]);
  });

  test('that nobody claims change nothing and say so', () => {
    const { routes, log } = made();
    const exit = input(0x200, 4);
    expect(routes.route(exit)).toBe(false);
    expect(routes.route(mmio('read', 0x2000, [0xff]))).toBe(false);
    expect(routes.route(out(0xffff, [1, 2]))).toBe(false);
    expect([...exit.data]).toEqual([0xff, 0xff, 0xff, 0xff]);
    expect(log).toEqual([]);
  });

  test('give each byte to the device that owns it, once, in order', () => {
    const layout = fc.uniqueArray(fc.nat(15), { maxLength: 6 }).map((starts) => {
      const sorted = [...starts].sort((a, b) => a - b);
      return sorted.map((base, i) => ({ base, end: sorted[i + 1] ?? 16 }));
    });
    const access = fc.record({
      at: fc.nat(18),
      size: fc.constantFrom(1, 2, 3, 4, 5, 8, 16),
      read: fc.boolean(),
    });
    fc.assert(
      fc.property(layout, fc.array(access), (regions, accesses) => {
        const { router: routes } = router();
        const seen: number[] = [];
        for (const [index, { base, end }] of regions.entries()) {
          const touch = (offset: number, size: number): void => {
            expect([1, 2, 4]).toContain(size);
            expect(base + offset + size).toBeLessThanOrEqual(end);
            for (let i = 0; i < size; i++) seen.push(base + offset + i);
          };
          routes.addDevice({
            ...device(`d${index}`, 'mmio', base, end - base, []),
            read(_region, offset, size) {
              touch(offset, size);
              let value = 0;
              for (let i = size - 1; i >= 0; i--) value = value * 256 + base + offset + i;
              return value;
            },
            write: (_region, offset, size) => touch(offset, size),
          });
        }
        for (const { at, size, read } of accesses) {
          seen.length = 0;
          const exit = mmio(read ? 'read' : 'write', at, new Array<number>(size).fill(0xff));
          const owned = Array.from({ length: size }, (_, i) => at + i).filter((each) =>
            regions.some(({ base, end }) => each >= base && each < end),
          );
          expect(routes.route(exit)).toBe(owned.length > 0);
          expect(seen).toEqual(owned);
          if (!read) continue;
          const expected = Array.from({ length: size }, (_, i) =>
            owned.includes(at + i) ? at + i : 0xff,
          );
          expect([...exit.data]).toEqual(expected);
        }
      }),
    );
  });
});

describe('what throws', () => {
  test('a handler that throws has passed, and is reported with its plugin', () => {
    const { router: routes, faults } = router();
    const log: string[] = [];
    const broken = () => {
      throw new Error('oops');
    };
    routes.add(handler('broken', { priority: 20, handle: broken }), 'bad-plugin');
    routes.add(handler('good', {}, log));
    expect(routes.route(out(0x10, [1]))).toBe(true);
    expect(log).toEqual(['good']);
    expect(faults).toEqual(['bad-plugin exit handler broken: oops']);
  });

  test('a device that throws reads as ones', () => {
    const { router: routes, faults } = router();
    const broken = { ...device('dev', 'io', 0x10, 4, []) };
    broken.read = () => {
      throw new Error('bug');
    };
    routes.addDevice(broken, 'devices');
    const exit = input(0x10, 2);
    expect(routes.route(exit)).toBe(true);
    expect([...exit.data]).toEqual([0xff, 0xff]);
    expect(faults).toEqual(['devices device dev: bug']);
  });
});
