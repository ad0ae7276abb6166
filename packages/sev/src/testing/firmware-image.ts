/**
 * Small firmware images made of nothing but tables, for tests: what edk2's build leaves at the end
 * of an OVMF image, with every part open to damage.
 */
import { concat, u16, u32 } from '../bytes.js';
import { FIRMWARE_GUID, type FirmwareSection, SECTION } from '../measure/firmware-tables.js';

export interface ImageOptions {
  readonly size?: number;
  readonly sections?: readonly FirmwareSection[];
  readonly resetEip?: number;
  readonly hashTable?: { readonly base: number; readonly size: number };
  readonly version?: number;
  /** Makes it look like an SVSM image, which starts here. */
  readonly svsmEntry?: number;
}

export const PLAIN_SECTIONS: readonly FirmwareSection[] = [
  { gpa: 0x800000, size: 0x3000, type: SECTION.secMem },
  { gpa: 0x80d000, size: 0x1000, type: SECTION.secrets },
  { gpa: 0x80e000, size: 0x1000, type: SECTION.cpuid },
  { gpa: 0x80f000, size: 0x1000, type: SECTION.svsmCaa },
  { gpa: 0x810000, size: 0x1000, type: SECTION.kernelHashes },
];

export function firmwareImage(options: ImageOptions = {}): Uint8Array {
  const { size = 0x2000, sections = PLAIN_SECTIONS, resetEip = 0x80b004, version = 1 } = options;
  const { svsmEntry } = options;
  const { base, size: areaSize } = options.hashTable ?? { base: 0x810400, size: 0x400 };
  const image = Uint8Array.from({ length: size }, (_, at) => (at * 7) & 0xff);
  const metadata = concat(
    new TextEncoder().encode('ASEV'),
    u32(16 + sections.length * 12),
    u32(version),
    u32(sections.length),
    ...sections.map(({ gpa, size, type }) => concat(u32(gpa), u32(size), u32(type))),
  );
  const metadataAt = 0x1000;
  image.set(metadata, metadataAt);
  const entry = (guid: Uint8Array, data: Uint8Array) => concat(data, u16(data.length + 18), guid);
  const entries = concat(
    entry(FIRMWARE_GUID.hashTable, concat(u32(base), u32(areaSize))),
    entry(FIRMWARE_GUID.metadata, u32(size - metadataAt)),
    entry(FIRMWARE_GUID.reset, u32(resetEip)),
    ...(svsmEntry === undefined ? [] : [entry(FIRMWARE_GUID.svsmInfo, u32(svsmEntry))]),
  );
  const table = concat(entries, u16(entries.length + 18), FIRMWARE_GUID.footer);
  image.set(table, size - 32 - table.length);
  return image;
}
