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

export interface ElfShape {
  readonly bits?: 32 | 64;
  readonly machine?: number;
  readonly entry?: bigint;
  readonly segments?: readonly {
    readonly paddr: number;
    readonly bytes: Uint8Array;
    readonly vaddr?: bigint;
    readonly memorySize?: number;
    readonly flags?: number;
  }[];
  readonly notes?: readonly {
    readonly name: string;
    readonly type: number;
    readonly description: Uint8Array;
  }[];
}

const up4 = (value: number) => Math.ceil(value / 4) * 4;

function noteBytes(notes: NonNullable<ElfShape['notes']>): Uint8Array {
  const parts = notes.flatMap(({ name, type, description }) => {
    const part = new Uint8Array(12 + up4(name.length + 1) + up4(description.length));
    const view = new DataView(part.buffer);
    view.setUint32(0, name.length + 1, true);
    view.setUint32(4, description.length, true);
    view.setUint32(8, type, true);
    part.set(new TextEncoder().encode(name), 12);
    part.set(description, 12 + up4(name.length + 1));
    return [...part];
  });
  return Uint8Array.from(parts);
}

/** An ELF executable: header, program headers, then each segment's bytes, then the notes. */
export function elf(shape: ElfShape = {}): Uint8Array {
  const wide = (shape.bits ?? 64) === 64;
  const segments = (shape.segments ?? []).map((segment) => ({
    type: 1,
    flags: segment.flags ?? 5,
    vaddr: segment.vaddr ?? BigInt(segment.paddr),
    paddr: BigInt(segment.paddr),
    bytes: segment.bytes,
    memorySize: BigInt(segment.memorySize ?? segment.bytes.length),
  }));
  if (shape.notes !== undefined) {
    const bytes = noteBytes(shape.notes);
    const size = BigInt(bytes.length);
    segments.push({ type: 4, flags: 4, vaddr: 0n, paddr: 0n, bytes, memorySize: size });
  }
  const headerSize = wide ? 64 : 52;
  const entrySize = wide ? 56 : 32;
  const contentAt = headerSize + entrySize * segments.length;
  const size = segments.reduce((end, { bytes }) => end + bytes.length, contentAt);
  const file = new Uint8Array(size);
  const view = new DataView(file.buffer);
  const word = (at: number, value: bigint) =>
    wide ? view.setBigUint64(at, value, true) : view.setUint32(at, Number(value), true);
  file.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, shape.machine ?? (wide ? 62 : 3), true);
  view.setUint32(20, 1, true);
  word(24, shape.entry ?? 0n);
  word(wide ? 32 : 28, BigInt(headerSize));
  view.setUint16(wide ? 52 : 40, headerSize, true);
  view.setUint16(wide ? 54 : 42, entrySize, true);
  view.setUint16(wide ? 56 : 44, segments.length, true);
  let offset = contentAt;
  for (const [index, segment] of segments.entries()) {
    const at = headerSize + index * entrySize;
    view.setUint32(at, segment.type, true);
    view.setUint32(at + (wide ? 4 : 24), segment.flags, true);
    word(at + (wide ? 8 : 4), BigInt(offset));
    word(at + (wide ? 16 : 8), segment.vaddr);
    word(at + (wide ? 24 : 12), segment.paddr);
    word(at + (wide ? 32 : 16), BigInt(segment.bytes.length));
    word(at + (wide ? 40 : 20), segment.memorySize);
    word(at + (wide ? 48 : 28), 4n);
    file.set(segment.bytes, offset);
    offset += segment.bytes.length;
  }
  return file;
}

/** A PVH kernel: code at 16 MiB, a second segment with zeros behind it, the entry note. */
export function pvhKernel(entry = 0x1000010, descriptionSize = 4): Uint8Array {
  const description = new Uint8Array(descriptionSize);
  new DataView(description.buffer).setUint32(0, entry, true);
  return elf({
    entry: 0xffffffff81000000n,
    segments: [
      { paddr: 0x1000000, vaddr: 0xffffffff81000000n, bytes: new Uint8Array(0x123).fill(0xaa) },
      { paddr: 0x1200800, bytes: new Uint8Array(0x10).fill(0xbb), memorySize: 0x2000, flags: 6 },
    ],
    notes: [
      { name: 'GNU', type: 3, description: new Uint8Array(7) },
      { name: 'Xen', type: 18, description },
    ],
  });
}

/** The 12 or 32 bytes of a Multiboot header. */
export function multibootHeader(flags: number, addresses: readonly number[] = []): Uint8Array {
  const words = [0x1badb002, flags, -(0x1badb002 + flags), ...addresses];
  return new Uint8Array(Uint32Array.from(words, (word) => word >>> 0).buffer);
}
