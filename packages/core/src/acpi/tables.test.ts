// ACPI tables as a guest follows them, and as iasl reads them where it is installed.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { AcpiDeviceNode } from '../interfaces/plugin.js';
import * as hardware from './fixed-hardware.js';
import { acpiTables } from './tables.js';

const COM1: AcpiDeviceNode = {
  name: 'COM1',
  hid: 'PNP0501',
  uid: 1,
  io: { base: 0x3f8, length: 8 },
  gsi: 4,
  edge: true,
};
const VIRTIO: AcpiDeviceNode[] = [0, 1].map((index) => ({
  name: `VR0${index}`,
  hid: 'LNRO0005',
  uid: index,
  mmio: { base: 0xd0000000 + index * 0x1000, length: 0x1000 },
  gsi: 16 + index,
}));

/** Follows the pointers as a guest does: RSDP, XSDT, FADT, DSDT and the rest by signature. */
function walk(options: Parameters<typeof acpiTables>[0]) {
  const { rsdp, regions } = acpiTables(options);
  const [region] = regions;
  if (region === undefined) throw new Error('no region');
  const view = new DataView(region.bytes.buffer);
  const sum = (at: number, length: number) =>
    region.bytes.subarray(at, at + length).reduce((total, byte) => (total + byte) & 0xff, 0);
  const text = (at: number, length: number) =>
    String.fromCharCode(...region.bytes.subarray(at, at + length));
  const tableAt = (gpa: number) => {
    const at = gpa - region.gpa;
    const length = view.getUint32(at + 4, true);
    return { at, length, signature: text(at, 4), bytes: region.bytes.slice(at, at + length) };
  };
  const root = rsdp - region.gpa;
  const xsdt = tableAt(Number(view.getBigUint64(root + 24, true)));
  const tables = new Map<string, ReturnType<typeof tableAt>>();
  for (let at = xsdt.at + 36; at < xsdt.at + xsdt.length; at += 8) {
    const found = tableAt(Number(view.getBigUint64(at, true)));
    tables.set(found.signature, found);
  }
  const facp = tables.get('FACP');
  if (facp === undefined) throw new Error('no FADT');
  tables.set('DSDT', tableAt(Number(view.getBigUint64(facp.at + 140, true))));
  const facs = tableAt(view.getUint32(facp.at + 36, true));
  return { region, root, view, sum, text, xsdt, tables, facp, facs };
}

describe('acpiTables', () => {
  it('chains RSDP, XSDT, FADT, MADT and DSDT, each with a right checksum', () => {
    const { root, sum, text, xsdt, tables, facs } = walk({ cpus: 1, nodes: VIRTIO });
    expect(text(root, 8)).toBe('RSD PTR ');
    expect(sum(root, 20)).toBe(0);
    expect(sum(root, 36)).toBe(0);
    expect(xsdt.signature).toBe('XSDT');
    expect(sum(xsdt.at, xsdt.length)).toBe(0);
    expect([...tables.keys()].sort()).toEqual(['APIC', 'DSDT', 'FACP']);
    for (const { at, length } of tables.values()) expect(sum(at, length)).toBe(0);
    expect(facs.signature).toBe('FACS');
    expect(facs.at % 64).toBe(0);
  });

  it('describes the fixed hardware at the ports that the device uses', () => {
    const { facp, view } = walk({ cpus: 1 });
    const gas = (at: number) => ({
      space: view.getUint8(facp.at + at),
      bits: view.getUint8(facp.at + at + 1),
      address: Number(view.getBigUint64(facp.at + at + 4, true)),
    });
    expect(view.getUint16(facp.at + 46, true)).toBe(hardware.SCI_GSI);
    expect(view.getUint32(facp.at + 48, true)).toBe(0);
    expect(view.getUint32(facp.at + 56, true)).toBe(hardware.PM1A_EVT_PORT);
    expect(view.getUint32(facp.at + 64, true)).toBe(hardware.PM1A_CNT_PORT);
    expect(view.getUint32(facp.at + 76, true)).toBe(hardware.PM_TMR_PORT);
    expect(gas(148)).toEqual({ space: 1, bits: 32, address: 0x600 });
    expect(gas(172)).toEqual({ space: 1, bits: 16, address: 0x604 });
    expect(gas(208)).toEqual({ space: 1, bits: 32, address: 0x608 });
    expect(gas(116)).toEqual({ space: 1, bits: 8, address: 0xcf9 });
    expect(view.getUint8(facp.at + 128)).toBe(6);
    const flags = view.getUint32(facp.at + 112, true);
    expect(flags & (1 << 4)).toBe(0); // a fixed power button
    expect(flags & (1 << 20)).toBe(0); // not hardware-reduced
    expect(flags & (1 << 10)).not.toBe(0); // the reset register works
  });

  it('takes another description of the fixed hardware', () => {
    const { facp, view, tables } = walk({
      cpus: 1,
      hardware: {
        ...hardware.FIXED_HARDWARE,
        pm1aEvent: 0xb000,
        pmTimer32: true,
        sci: 11,
        century: 0,
        keyboardController: false,
      },
    });
    expect(view.getUint32(facp.at + 56, true)).toBe(0xb000);
    expect(Number(view.getBigUint64(facp.at + 152, true))).toBe(0xb000);
    expect(view.getUint16(facp.at + 46, true)).toBe(11);
    expect(view.getUint8(facp.at + 108)).toBe(0);
    expect(view.getUint16(facp.at + 109, true) & 2).toBe(0);
    expect(view.getUint32(facp.at + 112, true) & (1 << 8)).not.toBe(0);
    const madt = Buffer.from(tables.get('APIC')?.bytes ?? []);
    expect(madt.includes(Buffer.from([2, 10, 0, 11, 11, 0, 0, 0, 0x0d, 0]))).toBe(true);
  });

  it('describes other interrupt controllers', () => {
    const { tables } = walk({
      cpus: 1,
      interrupts: {
        pic: false,
        ioApics: [{ id: 3, address: 0xfec10000, gsiBase: 24, pins: 24 }],
        overrides: [
          { irq: 5, gsi: 21, activeLow: true, level: true },
          { irq: 6, gsi: 22, activeLow: true, level: false },
        ],
      },
    });
    const madt = Buffer.from(tables.get('APIC')?.bytes ?? []);
    expect(madt.readUInt32LE(40)).toBe(0);
    expect(madt.subarray(52)).toEqual(
      Buffer.from([
        ...[1, 12, 3, 0, 0, 0, 0xc1, 0xfe, 24, 0, 0, 0],
        ...[2, 10, 0, 5, 21, 0, 0, 0, 0x0f, 0],
        ...[2, 10, 0, 6, 22, 0, 0, 0, 0x07, 0],
        ...[4, 6, 0xff, 0, 0, 1],
      ]),
    );
  });

  it('numbers processors in the MADT, from 255 on by x2APIC structures', () => {
    const { tables } = walk({ cpus: 257 });
    const madt = tables.get('APIC');
    if (madt === undefined) throw new Error('no MADT');
    const view = new DataView(madt.bytes.buffer);
    const counts = new Map<number, number>();
    const ids: number[] = [];
    for (let at = 44; at < madt.length; at += view.getUint8(at + 1)) {
      const type = view.getUint8(at);
      counts.set(type, (counts.get(type) ?? 0) + 1);
      if (type === 0) ids.push(view.getUint8(at + 3));
      if (type === 9) ids.push(view.getUint32(at + 4, true));
    }
    expect(Object.fromEntries(counts)).toEqual({ 0: 255, 1: 1, 2: 2, 4: 1, 9: 2, 10: 1 });
    expect(ids).toEqual(Array.from({ length: 257 }, (_, id) => id));
  });

  it('lets a node replace a standard one of its name and refuses two of one name', () => {
    const rtc = { name: 'RTC', hid: 'PNP0B02', uid: 9, io: { base: 0x70, length: 2 }, gsi: 8 };
    const text = (nodes: AcpiDeviceNode[]) =>
      Buffer.from(walk({ cpus: 1, nodes }).tables.get('DSDT')?.bytes ?? []).toString('latin1');
    expect(text([rtc]).split('RTC_')).toHaveLength(2);
    expect(text([]).split('RTC_')).toHaveLength(2);
    expect(() => acpiTables({ cpus: 1, nodes: [rtc, rtc] })).toThrow(/two ACPI nodes/);
    expect(() => acpiTables({ cpus: 1, nodes: [{ ...rtc, name: 'C001' }] })).toThrow(/processor/);
    expect(() => acpiTables({ cpus: 1, nodes: [{ ...rtc, name: 'a-b' }] })).toThrow(/not a name/);
  });

  it('refuses impossible places, counts and ranges', () => {
    expect(() => acpiTables({ cpus: 0 })).toThrow(/number of CPUs/);
    expect(() => acpiTables({ cpus: 1, at: 0x1001 })).toThrow(/can't lie/);
    expect(() => acpiTables({ cpus: 1, at: 2 ** 32 })).toThrow(/can't lie/);
    expect(() => acpiTables({ cpus: 1, at: 0xff000, nodes: VIRTIO })).not.toThrow();
    expect(() => acpiTables({ cpus: 200, at: 0xff000 })).toThrow(/below 1 MiB/);
    const bad = { name: 'BAD0', hid: 'PNP0501', uid: 0 };
    for (const extra of [
      { io: { base: 0xfffe, length: 4 } },
      { io: { base: 0x10, length: 300 } },
      { mmio: { base: -1, length: 4096 } },
      { gsi: -1, edge: true },
      { gsi: -1 },
    ]) {
      expect(() => acpiTables({ cpus: 1, nodes: [{ ...bad, ...extra }] })).toThrow(/ACPI: no/);
    }
  });
});

const iasl = spawnSync('iasl', ['-v']).status === 0;

describe.skipIf(!iasl)('iasl (skipped where acpica-tools is not installed)', () => {
  it('disassembles every table without a complaint and finds what was said', () => {
    const nodes: AcpiDeviceNode[] = [
      COM1,
      ...VIRTIO,
      { name: 'HIGH', hid: 'LNRO0005', uid: 7, mmio: { base: 2 ** 33, length: 4096 }, gsi: 20 },
    ];
    const { tables } = walk({ cpus: 2, nodes });
    const directory = mkdtempSync(join(tmpdir(), 'acpi-'));
    try {
      const sources: Record<string, string> = {};
      for (const [signature, { bytes }] of tables) {
        const file = join(directory, `${signature}.dat`);
        writeFileSync(file, bytes);
        execFileSync('iasl', ['-d', file], { stdio: 'pipe' });
        sources[signature] = readFileSync(join(directory, `${signature}.dsl`), 'latin1');
        expect(sources[signature]).not.toMatch(/invalid|incorrect|unknown|error/i);
      }
      const dsdt = sources['DSDT'] ?? '';
      expect(dsdt).toMatch(/Name \(_HID, "LNRO0005"\)/);
      expect(dsdt).toMatch(/EisaId \("PNP0501"\)/);
      expect(dsdt).toMatch(/Memory32Fixed \(ReadWrite,\s*0xD0001000,/);
      expect(dsdt).toMatch(/IO \(Decode16,\s*0x03F8,/);
      expect(dsdt).toMatch(/IRQNoFlags \(\)\s*\{4\}/);
      expect(dsdt).toMatch(/QWordMemory/);
      expect(dsdt).toMatch(/Interrupt \(ResourceConsumer, Level, ActiveHigh, Exclusive/);
      expect(dsdt).toMatch(/Name \(\\_S5, Package \(0x04\)/);
      // What iasl disassembled compiles again, to the same code.
      execFileSync('iasl', ['-oa', '-p', join(directory, 'again'), join(directory, 'DSDT.dsl')], {
        stdio: 'pipe',
      });
      const again = readFileSync(join(directory, 'again.aml'));
      expect(again.subarray(36)).toEqual(Buffer.from(tables.get('DSDT')?.bytes.slice(36) ?? []));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
