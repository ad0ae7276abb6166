/** Canonical traces: what is merged, what is left out, what stays apart. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { VmExit } from '../interfaces/index.js';
import { canonicalize } from './canonical.js';

const base = { vcpu: 0, instructions: 7 };
const write = (gpa: number, ...data: number[]): VmExit => ({
  ...base,
  kind: 'mmio',
  direction: 'write',
  gpa,
  size: data.length,
  data: Uint8Array.from(data),
});
const out = (port: number, size: number, ...data: number[]): VmExit => ({
  ...base,
  kind: 'io',
  direction: 'out',
  port,
  size,
  count: data.length / size,
  data: Uint8Array.from(data),
});

describe('canonicalize', () => {
  it('is the same however memory accesses are split', () => {
    const cuts = fc.array(fc.nat(15), { maxLength: 6 });
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), cuts, (data, places) => {
        const sorted = [...new Set([0, ...places, 16])].sort((a, b) => a - b);
        const pieces = sorted
          .slice(1)
          .map((end, index) =>
            write(0x1000 + sorted[index]!, ...data.subarray(sorted[index], end)),
          );
        expect(canonicalize(pieces)).toEqual(canonicalize([write(0x1000, ...data)]));
      }),
    );
  });

  it('keeps apart what is not adjacent, or of another direction or kind', () => {
    const read = { ...write(0x1001, 2), direction: 'read' } as VmExit;
    expect(canonicalize([write(0x1000, 1), read, write(0x1002, 3), write(0x1004, 4)])).toEqual([
      'cpu0 mmio write 0x1000 01',
      'cpu0 mmio read 0x1001 02',
      'cpu0 mmio write 0x1002 03',
      'cpu0 mmio write 0x1004 04',
    ]);
    expect(canonicalize([write(0x1000, 1), out(0x80, 1, 9), write(0x1001, 2)])).toEqual([
      'cpu0 mmio write 0x1000 01',
      'cpu0 io out 0x80 09',
      'cpu0 mmio write 0x1001 02',
    ]);
  });

  it('gives port I/O by item', () => {
    expect(canonicalize([out(0x80, 2, 1, 2, 3, 4)])).toEqual(
      canonicalize([out(0x80, 2, 1, 2), out(0x80, 2, 3, 4)]),
    );
    expect(canonicalize([out(0x80, 2, 1, 2)])).not.toEqual(canonicalize([out(0x80, 1, 1, 2)]));
  });

  it('leaves out what depends on the host, and MSR accesses that nobody answered', () => {
    const msr = { ...base, kind: 'msr', direction: 'read', index: 5, lo: 1, hi: 2 } as const;
    const exits: VmExit[] = [
      { ...base, kind: 'interrupted' },
      { ...base, kind: 'hlt', interruptible: true },
      { ...msr, fault: true },
      { ...msr, fault: false },
    ];
    expect(canonicalize(exits)).toEqual(['cpu0 msr read 0x5 0x1 0x2']);
  });

  it('is by CPU, whatever their order', () => {
    const [a, b] = [out(0x80, 1, 1), { ...out(0x81, 1, 2), vcpu: 1 }];
    expect(canonicalize([a, b])).toEqual(canonicalize([b, a]));
  });
});
