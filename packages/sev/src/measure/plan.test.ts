// Launch plans: pages in order, shared pages, vCPU states.
import { createHash } from 'node:crypto';
import { type LaunchPlan, type LaunchRegion, resetState } from '@cloister/core';
import { flat } from '@cloister/core/boot';
import { describe, expect, test } from 'vitest';
import { toHex } from '../bytes.js';
import { measurePlan, planPages } from './plan.js';

const region = (name: string, gpa: number, bytes: Uint8Array): LaunchRegion => ({
  name,
  gpa,
  bytes,
  type: 'normal',
});

const plan = (...regions: LaunchRegion[]): LaunchPlan => ({
  regions,
  vcpus: new Map([[0, { ...resetState(0xa00f11), rip: 0x100000n, cr4: 0x20n, efer: 0x500n }]]),
  e820: [],
  entry: 'linux64',
});

describe('the pages of a plan', () => {
  test('are whole, in the order of the regions', () => {
    const pages = planPages([
      region('b', 0x5000, new Uint8Array(4096).fill(2)),
      region('a', 0x1800, new Uint8Array(0x1000).fill(1)),
    ]);
    expect(pages.map(({ gpa, name }) => `${name} ${gpa.toString(16)}`)).toEqual([
      'b 5000',
      'a 1000',
      'a 2000',
    ]);
    expect(pages[1]!.bytes!.indexOf(1)).toBe(0x800);
    expect(pages[2]!.bytes!.lastIndexOf(1)).toBe(0x7ff);
  });

  test('hold what the last region leaves, where regions share one', () => {
    const first = new Uint8Array(4096).fill(1);
    const [page, ...others] = planPages([
      region('a', 0x1000, first),
      region('b', 0x1010, Uint8Array.of(7, 7)),
    ]);
    expect(others).toEqual([]);
    expect(page).toMatchObject({ name: 'a+b', gpa: 0x1000 });
    expect([...page!.bytes!.subarray(0xf, 0x13)]).toEqual([1, 7, 7, 1]);
    expect(first.includes(7)).toBe(false);
  });

  test('cannot be of two types', () => {
    const zero: LaunchRegion = { ...region('z', 0x1800, new Uint8Array(0x10)), type: 'zero' };
    expect(() => planPages([region('a', 0x1000, new Uint8Array(0x10)), zero])).toThrow('share');
  });
});

describe('the digest of a plan', () => {
  const bytes = new Uint8Array(4096).fill(9);
  const secrets: LaunchRegion = { ...region('s', 0x3000, bytes), type: 'secrets' };

  test('for SEV is the hash of its contents', () => {
    const digest = measurePlan(plan(region('a', 0x1000, bytes), secrets), { mode: 'sev' });
    expect(toHex(digest)).toBe(createHash('sha256').update(bytes).digest('hex'));
  });

  test('for SNP takes in the vCPU as KVM starts it', () => {
    const sha384 = (data: Uint8Array) => createHash('sha384').update(data).digest();
    const permissions = { vmpl1: 1, vmpl2: 3, vmpl3: 15 };
    const data: LaunchRegion = { ...region('a', 0x1000, bytes), permissions };
    const pages: Record<string, string> = {};
    const digest = measurePlan(plan(data, secrets), { mode: 'snp' }, (page) => {
      pages[page.name] = toHex(page.digest);
    });
    const info = Buffer.alloc(0x70);
    sha384(bytes).copy(info, 48);
    info.set([0x70, 0, 1, 0, 0, 1, 3, 15, 0, 0x10], 0x60);
    expect(pages['a']).toBe(sha384(info).toString('hex'));
    expect(pages['vmsa-0']).toBe(toHex(digest));
    expect(digest).not.toEqual(measurePlan(plan(data, secrets), { mode: 'snp', features: 0x21n }));
  });
});

test("a plan of core's own boot source is measured region by region, whole", () => {
  const source = flat({ image: Uint8Array.of(0xf4), mode: 'long' });
  const own = source.plan({
    ramSize: 2 ** 24,
    ram: [{ gpa: 0, size: 2 ** 24 }],
    cpus: 1,
    acpi: null,
    cBit: 51,
    protection: 'sev-snp',
  });
  const names: string[] = [];
  const digest = measurePlan(own, { mode: 'snp' }, ({ name }) => void names.push(name));
  const pages = own.regions.flatMap(({ name, bytes }) => Array(bytes.length / 4096).fill(name));
  expect(names).toEqual([...pages, 'vmsa-0']);
  expect(digest).not.toEqual(measurePlan({ ...own, vcpus: new Map() }, { mode: 'snp' }));
});
