/**
 * What OVMF says about itself at the end of its image: the GUIDed table of edk2 (OvmfPkg,
 * ResetVectorVtf0.asm), and the SEV metadata that it points to (OvmfSevMetadata.asm). The same
 * tables end a Coconut SVSM image.
 *
 * Where a GUID occurs twice, the one nearer to the end counts, as QEMU finds it.
 */
import { VmmError } from '@cloister/core';
import { guidBytes, guidText, part, viewOf } from '../bytes.js';
import { PAGE_SIZE } from './launch-chain.js';

/** Types of SEV metadata sections. */
export const SECTION = {
  secMem: 1,
  secrets: 2,
  cpuid: 3,
  svsmCaa: 4,
  kernelHashes: 0x10,
} as const;

export interface FirmwareSection {
  readonly gpa: number;
  readonly size: number;
  /** One of `SECTION`. */
  readonly type: number;
}

/** An area in guest memory that the firmware sets aside. */
export interface FirmwareArea {
  readonly base: number;
  readonly size: number;
}

/** All of a firmware that a measurement depends on, besides its bytes. */
export interface FirmwareLayout {
  readonly sections: readonly FirmwareSection[];
  /** EIP of every vCPU but the first. */
  readonly resetEip?: number;
  /** Where the kernel hashes go; absent also where the firmware says base 0. */
  readonly hashTable?: FirmwareArea;
  /** Where an injected secret goes. */
  readonly secretArea?: FirmwareArea;
  /** Of an SVSM: where it starts, relative to the image. */
  readonly svsmEntry?: number;
}

const GUID = {
  footer: '96b582de-1fb2-45f7-baea-a366c55a082d',
  hashTable: '7255371f-3a3b-4b04-927b-1da6efa8d454',
  secret: '4c2eb361-7d9b-4cc3-8081-127c90d3d294',
  reset: '00f771de-1a7e-4fcb-890e-68c77e2fb44e',
  metadata: 'dc886566-984a-4798-a75e-5585a7bf67cc',
  svsmInfo: 'a789a612-0597-4c4b-a49f-cbb1fe9d1ddd',
} as const;

/** `u16 size, GUID` after the data of each entry. */
const ENTRY_TAIL = 18;
const TABLE_END = 32;
const METADATA_HEADER = 16;
const SECTION_SIZE = 12;
/** No firmware is near this; a damaged one must not keep us busy for hours. */
const SECTIONS_TOTAL_MAX = 256 * 2 ** 20;

/** Reads the tables. An image without a table has an empty layout; a damaged one is refused. */
export function parseFirmware(image: Uint8Array): FirmwareLayout {
  const entries = footerTable(image);
  const reset = entries.get(GUID.reset);
  const svsm = entries.get(GUID.svsmInfo);
  const hashTable = area(entries.get(GUID.hashTable), 'the hash table area');
  const secretArea = area(entries.get(GUID.secret), 'the launch secret area');
  return {
    sections: sections(image, entries.get(GUID.metadata)),
    ...(reset === undefined ? {} : { resetEip: number32(reset, 'the SEV-ES reset block') }),
    ...(svsm === undefined ? {} : { svsmEntry: number32(svsm, 'the SVSM info block') }),
    ...(hashTable === undefined ? {} : { hashTable }),
    ...(secretArea === undefined ? {} : { secretArea }),
  };
}

/** Data of each entry by GUID. */
export function footerTable(image: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const entries = new Map<string, Uint8Array>();
  const tail = image.length - TABLE_END - ENTRY_TAIL;
  if (tail < 0 || entryGuid(image, tail) !== GUID.footer) return entries;
  const size = viewOf(image).getUint16(tail, true);
  if (size < ENTRY_TAIL) throw damaged(`the table's footer gives a size of ${size}`);
  let table = part(image, tail + ENTRY_TAIL - size, size - ENTRY_TAIL, 'the table of the firmware');
  while (table.length >= ENTRY_TAIL) {
    const at = table.length - ENTRY_TAIL;
    const entrySize = viewOf(table).getUint16(at, true);
    const guid = entryGuid(table, at);
    if (entrySize < ENTRY_TAIL) throw damaged(`table entry ${guid} has a size of ${entrySize}`);
    const data = part(table, table.length - entrySize, entrySize - ENTRY_TAIL, `entry ${guid}`);
    if (!entries.has(guid)) entries.set(guid, data);
    table = table.subarray(0, table.length - entrySize);
  }
  return entries;
}

const entryGuid = (bytes: Uint8Array, at: number) => guidText(bytes.subarray(at + 2, at + 18));

function sections(image: Uint8Array, pointer: Uint8Array | undefined): FirmwareSection[] {
  if (pointer === undefined) return [];
  const start = image.length - number32(pointer, 'the pointer to the SEV metadata');
  const header = viewOf(part(image, start, METADATA_HEADER, 'the SEV metadata'));
  if (header.getUint32(0, false) !== 0x41534556) throw damaged('SEV metadata without "ASEV"');
  const version = header.getUint32(8, true);
  if (version !== 1) throw damaged(`SEV metadata of version ${version}, not 1`);
  const count = header.getUint32(12, true);
  const needed = METADATA_HEADER + count * SECTION_SIZE;
  if (header.getUint32(4, true) < needed) throw damaged(`${count} sections in too little metadata`);
  const list = viewOf(part(image, start, needed, 'the list of SEV sections'));
  let total = 0;
  return Array.from({ length: count }, (_, index) => {
    const at = METADATA_HEADER + index * SECTION_SIZE;
    const section = {
      gpa: list.getUint32(at, true),
      size: list.getUint32(at + 4, true),
      type: list.getUint32(at + 8, true),
    };
    total += section.size;
    checkSection(section, total);
    return section;
  });
}

function checkSection({ gpa, size, type }: FirmwareSection, total: number): void {
  const what = `SEV section at 0x${gpa.toString(16)}`;
  if (!(Object.values(SECTION) as number[]).includes(type)) {
    throw damaged(`${what}: type 0x${type.toString(16)} is not known`);
  }
  if (gpa % PAGE_SIZE !== 0 || size % PAGE_SIZE !== 0) {
    throw damaged(`${what}: 0x${size.toString(16)} bytes there are not whole pages`);
  }
  if (gpa + size > 2 ** 32) throw damaged(`${what}: it ends above 4 GiB`);
  if (total > SECTIONS_TOTAL_MAX) throw damaged('the SEV sections cover more than 256 MiB');
}

/** Base 0 is how a build says that it does not take part (Debian's, for kernel hashes). */
function area(data: Uint8Array | undefined, what: string): FirmwareArea | undefined {
  if (data === undefined) return undefined;
  const view = viewOf(part(data, 0, 8, what));
  const base = view.getUint32(0, true);
  return base === 0 ? undefined : { base, size: view.getUint32(4, true) };
}

function number32(data: Uint8Array, what: string): number {
  return viewOf(part(data, 0, 4, what)).getUint32(0, true);
}

function damaged(message: string): VmmError {
  return new VmmError('invalid-file', `firmware: ${message}`);
}

/** The GUIDs of the table, as bytes: for tools that build images. */
export const FIRMWARE_GUID = {
  footer: guidBytes(GUID.footer),
  hashTable: guidBytes(GUID.hashTable),
  secret: guidBytes(GUID.secret),
  reset: guidBytes(GUID.reset),
  metadata: guidBytes(GUID.metadata),
  svsmInfo: guidBytes(GUID.svsmInfo),
} as const;
