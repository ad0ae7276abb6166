/**
 * ELF executables as boot sources need them: load segments by physical address, and notes.
 *
 * Source: System V ABI, "ELF Header", "Program Header", "Note Section"; little-endian only.
 * Every number of the file is checked before use. Section headers are not read.
 */
import { VmmError } from '../interfaces/error.js';

export const EM_386 = 3;
export const EM_X86_64 = 62;

const ELF_MAGIC = 0x464c457f; // "\x7fELF"
const LITTLE_ENDIAN = 1;
const PT_LOAD = 1;
const PT_NOTE = 4;
/** Flag of a segment: executable. */
export const PF_X = 1;
/** More program headers than this are counted elsewhere (PN_XNUM). */
const MAX_HEADERS = 0xfffe;
const MAX_ADDRESS = 2n ** 52n;

export interface ElfSegment {
  readonly vaddr: bigint;
  readonly paddr: number;
  /** What the file has of it; the rest up to `memorySize` is zeros. */
  readonly bytes: Uint8Array;
  readonly memorySize: number;
  readonly flags: number;
}

export interface ElfNote {
  readonly name: string;
  readonly type: number;
  readonly description: Uint8Array;
}

export interface Elf {
  readonly bits: 32 | 64;
  readonly machine: number;
  readonly entry: bigint;
  /** PT_LOAD segments with a size, in the file's order. */
  readonly segments: readonly ElfSegment[];
  readonly notes: readonly ElfNote[];
}

function damaged(message: string): VmmError {
  return new VmmError('invalid-file', `kernel: ELF: ${message}`, { path: 'kernel' });
}

export function looksLikeElf(file: Uint8Array): boolean {
  return file.length >= 4 && viewOf(file).getUint32(0, true) === ELF_MAGIC;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

interface ProgramHeader {
  readonly type: number;
  readonly flags: number;
  readonly offset: bigint;
  readonly vaddr: bigint;
  readonly paddr: bigint;
  readonly fileSize: bigint;
  readonly memorySize: bigint;
  readonly alignment: bigint;
}

/** Reads and checks an ELF file; throws `VmmError('invalid-file')`. */
export function parseElf(file: Uint8Array): Elf {
  if (!looksLikeElf(file)) throw damaged('no magic number');
  const view = viewOf(file);
  const bits = file[4] === 1 ? 32 : file[4] === 2 ? 64 : null;
  if (bits === null) throw damaged(`class ${file[4]} is neither 32-bit nor 64-bit`);
  if (file[5] !== LITTLE_ENDIAN) throw damaged('not little-endian');
  if (file.length < (bits === 64 ? 64 : 52)) throw damaged('truncated within its header');
  const entry = bits === 64 ? view.getBigUint64(24, true) : BigInt(view.getUint32(24, true));
  const segments: ElfSegment[] = [];
  const notes: ElfNote[] = [];
  for (const [index, header] of programHeaders(file, view, bits).entries()) {
    if (header.type === PT_LOAD && header.memorySize > 0n) {
      segments.push(segmentOf(file, header, index));
    } else if (header.type === PT_NOTE) {
      notes.push(...notesOf(contentOf(file, header, index), header.alignment === 8n ? 8 : 4));
    }
  }
  return { bits, machine: view.getUint16(18, true), entry, segments, notes };
}

function programHeaders(file: Uint8Array, view: DataView, bits: 32 | 64): ProgramHeader[] {
  const wide = bits === 64;
  const tableAt = wide ? view.getBigUint64(32, true) : BigInt(view.getUint32(28, true));
  const entrySize = view.getUint16(wide ? 54 : 42, true);
  const count = view.getUint16(wide ? 56 : 44, true);
  if (count === 0) throw damaged('no program headers: not an executable');
  if (entrySize !== (wide ? 56 : 32) || count > MAX_HEADERS) {
    throw damaged(`${count} program headers of ${entrySize} bytes can't be`);
  }
  if (tableAt + BigInt(count * entrySize) > BigInt(file.length)) {
    throw damaged('truncated: the program headers lie beyond the end of the file');
  }
  return Array.from({ length: count }, (_, index) => {
    const at = Number(tableAt) + index * entrySize;
    const u32 = (offset: number) => view.getUint32(at + offset, true);
    const word = (offset: number) =>
      wide ? view.getBigUint64(at + offset, true) : BigInt(u32(offset));
    return {
      type: u32(0),
      flags: u32(wide ? 4 : 24),
      offset: word(wide ? 8 : 4),
      vaddr: word(wide ? 16 : 8),
      paddr: word(wide ? 24 : 12),
      fileSize: word(wide ? 32 : 16),
      memorySize: word(wide ? 40 : 20),
      alignment: word(wide ? 48 : 28),
    };
  });
}

function contentOf(file: Uint8Array, header: ProgramHeader, index: number): Uint8Array {
  if (header.offset + header.fileSize > BigInt(file.length)) {
    throw damaged(
      `truncated: segment ${index} ends at ${header.offset + header.fileSize}, ` +
        `the file at ${file.length}`,
    );
  }
  const offset = Number(header.offset);
  return file.subarray(offset, offset + Number(header.fileSize));
}

function segmentOf(file: Uint8Array, header: ProgramHeader, index: number): ElfSegment {
  if (header.memorySize < header.fileSize) {
    throw damaged(`segment ${index} has more bytes in the file than in memory`);
  }
  if (header.paddr + header.memorySize > MAX_ADDRESS) {
    throw damaged(`segment ${index} lies beyond any memory, at 0x${header.paddr.toString(16)}`);
  }
  return {
    vaddr: header.vaddr,
    paddr: Number(header.paddr),
    bytes: contentOf(file, header, index),
    memorySize: Number(header.memorySize),
    flags: header.flags,
  };
}

function notesOf(content: Uint8Array, alignment: 4 | 8): ElfNote[] {
  const view = viewOf(content);
  const up = (value: number) => Math.ceil(value / alignment) * alignment;
  const notes: ElfNote[] = [];
  let at = 0;
  while (at + 12 <= content.length) {
    const nameSize = view.getUint32(at, true);
    const descriptionSize = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const nameAt = at + 12;
    const descriptionAt = at + up(12 + nameSize);
    const end = descriptionAt + descriptionSize;
    if (end > content.length) throw damaged(`a note of type ${type} exceeds its segment`);
    const name = content.subarray(nameAt, nameAt + Math.max(nameSize - 1, 0));
    notes.push({
      name: String.fromCharCode(...name.subarray(0, 64)),
      type,
      description: content.subarray(descriptionAt, end),
    });
    at += up(end - at);
  }
  return notes;
}
