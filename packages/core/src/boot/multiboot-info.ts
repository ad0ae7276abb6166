/**
 * The Multiboot information structure and all that it points to, as one run of bytes.
 *
 * Source: Multiboot Specification 0.6.96, 3.3 (boot information format).
 */
import type { E820Entry } from '../interfaces/launch-plan.js';
import { commandLineBytes } from './command-line.js';
import { HIGH_RAM_START, LOW_RAM_END, lowRamEnd, type RamRange } from './memory-layout.js';

const INFO_SIZE = 120;
const MODULE_SIZE = 16;
/** Each map entry is 20 bytes after a size field that doesn't count itself. */
const MMAP_ENTRY_SIZE = 24;

const FLAG_MEMORY = 1 << 0;
const FLAG_CMDLINE = 1 << 2;
const FLAG_MODULES = 1 << 3;
const FLAG_MMAP = 1 << 6;
const FLAG_LOADER_NAME = 1 << 9;

const LOADER_NAME = 'cloister';
const STRING_LIMIT = 0xffff;

export interface MultibootContents {
  readonly ram: readonly RamRange[];
  readonly e820: readonly E820Entry[];
  readonly commandLine: string;
  readonly modules: readonly {
    readonly gpa: number;
    readonly size: number;
    readonly string: string;
  }[];
}

/** The structure for address `at`. Its length does not depend on `at`. */
export function multibootInfo(at: number, contents: MultibootContents): Uint8Array {
  const { e820, modules } = contents;
  const strings = [LOADER_NAME, contents.commandLine, ...modules.map(({ string }) => string)].map(
    (text) => commandLineBytes(text, STRING_LIMIT),
  );
  const modulesAt = INFO_SIZE;
  const mmapAt = modulesAt + MODULE_SIZE * modules.length;
  const stringsAt = mmapAt + MMAP_ENTRY_SIZE * e820.length;
  const bytes = new Uint8Array(strings.reduce((end, text) => end + text.length, stringsAt));
  const view = new DataView(bytes.buffer);
  const u32 = (offset: number, value: number) => view.setUint32(offset, value, true);

  const addresses: number[] = [];
  let next = stringsAt;
  for (const text of strings) {
    bytes.set(text, next);
    addresses.push(at + next);
    next += text.length;
  }
  const [loaderName = 0, commandLine = 0, ...moduleStrings] = addresses;
  const lowEnd = lowRamEnd(contents.ram);

  u32(0, FLAG_MEMORY | FLAG_CMDLINE | FLAG_MODULES | FLAG_MMAP | FLAG_LOADER_NAME);
  u32(4, Math.floor(Math.min(lowEnd, LOW_RAM_END) / 1024));
  u32(8, Math.floor(Math.max(lowEnd - HIGH_RAM_START, 0) / 1024));
  u32(16, commandLine);
  u32(20, modules.length);
  u32(24, at + modulesAt);
  u32(44, MMAP_ENTRY_SIZE * e820.length);
  u32(48, at + mmapAt);
  u32(64, loaderName);
  for (const [index, { gpa, size }] of modules.entries()) {
    const offset = modulesAt + MODULE_SIZE * index;
    u32(offset, gpa);
    u32(offset + 4, gpa + size);
    u32(offset + 8, moduleStrings[index] ?? 0);
  }
  for (const [index, { base, length, type }] of e820.entries()) {
    const offset = mmapAt + MMAP_ENTRY_SIZE * index;
    u32(offset, MMAP_ENTRY_SIZE - 4);
    view.setBigUint64(offset + 4, BigInt(base), true);
    view.setBigUint64(offset + 12, BigInt(length), true);
    u32(offset + 20, type);
  }
  return bytes;
}
