/**
 * Kernel files made up for tests: headers that are right in every field a boot source reads, and
 * code that is recognisable bytes. Nothing here is exported from the package.
 */
import type { BootMachine } from '../interfaces/launch-plan.js';
import { HDR } from './bzimage.js';
import { ramRanges } from './memory-layout.js';

/** A machine as core would describe it. */
export function machine(ramSize: number, extra: Partial<BootMachine> = {}): BootMachine {
  return {
    ramSize,
    ram: ramRanges(ramSize),
    cpus: 1,
    acpi: null,
    cBit: null,
    protection: 'none',
    ...extra,
  };
}

export interface BzImageShape {
  readonly version?: number;
  readonly setupSects?: number;
  readonly xloadflags?: number;
  readonly loadflags?: number;
  readonly codeParagraphs?: number;
  readonly initSize?: number;
  readonly prefAddress?: bigint;
  readonly alignment?: number;
  readonly relocatable?: number;
  readonly cmdlineSize?: number;
  readonly initrdAddrMax?: number;
}

/** A bzImage whose protected-mode code is filled with 0xc0, 0xc1, ... */
export function bzImage(shape: BzImageShape = {}): Uint8Array {
  const setupSects = shape.setupSects ?? 1;
  const paragraphs = shape.codeParagraphs ?? 0x100;
  const start = ((setupSects || 4) + 1) * 512;
  const file = new Uint8Array(start + paragraphs * 16);
  const view = new DataView(file.buffer);
  view.setUint8(HDR.setupSects, setupSects);
  view.setUint32(HDR.syssize, paragraphs, true);
  view.setUint16(HDR.bootFlag, 0xaa55, true);
  view.setUint8(HDR.jump, 0xeb);
  view.setUint8(HDR.jump + 1, 0x6a);
  view.setUint32(HDR.magic, 0x53726448, true);
  view.setUint16(HDR.version, shape.version ?? 0x20f, true);
  view.setUint8(HDR.loadflags, shape.loadflags ?? 1);
  view.setUint32(HDR.initrdAddrMax, shape.initrdAddrMax ?? 0x7fffffff, true);
  view.setUint32(HDR.kernelAlignment, shape.alignment ?? 0x200000, true);
  view.setUint8(HDR.relocatable, shape.relocatable ?? 1);
  view.setUint16(HDR.xloadflags, shape.xloadflags ?? 0x7f, true);
  view.setUint32(HDR.cmdlineSize, shape.cmdlineSize ?? 2047, true);
  view.setUint32(HDR.payloadOffset, 0x100, true);
  view.setUint32(HDR.payloadLength, Math.max(paragraphs * 16 - 0x100, 0), true);
  view.setBigUint64(HDR.prefAddress, shape.prefAddress ?? 0x1000000n, true);
  view.setUint32(HDR.initSize, shape.initSize ?? 0x400000, true);
  for (let at = start; at < file.length; at += 1) file[at] = 0xc0 | (at & 0xf);
  return file;
}
