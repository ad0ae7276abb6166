/**
 * IGVM files: the part of the format that a launch under KVM uses (the structures of the
 * `igvm_defs` crate, format version 1 and 2; QEMU, backends/igvm.c). A file is a list of headers;
 * what they load lies behind them.
 */
import { VmmError } from '@cloister/core';
import { part, viewOf } from '../bytes.js';

/** A header whose compatibility mask takes in SEV-SNP, or that has no mask. */
export type IgvmDirective =
  | {
      readonly kind: 'page';
      readonly gpa: number;
      readonly type: 'normal' | 'secrets' | 'cpuid';
      readonly size: number;
      readonly unmeasured: boolean;
      /** Absent for pages of zeros. */
      readonly bytes?: Uint8Array;
    }
  | { readonly kind: 'parameters'; readonly gpa: number; readonly size: number }
  | {
      readonly kind: 'vcpu';
      readonly gpa: number;
      readonly index: number;
      readonly vmsa: Uint8Array;
    };

export interface IgvmFile {
  readonly directives: readonly IgvmDirective[];
  readonly policy?: bigint;
  /** The digest that the file's own ID block expects. */
  readonly expectedDigest?: Uint8Array;
}

const MAGIC = 0x4d564749;
const FIXED_SIZE: Readonly<Record<number, number>> = { 1: 24, 2: 32 };
const PLATFORM_SEV_SNP = 2;
const PAGE = 4096;
const LARGE_PAGE = 2 ** 21;
const PARAMETER_AREA_MAX = 2 ** 28;
const HIGHEST_GPA = 2 ** 52;

const TYPE = {
  supportedPlatform: 0x001,
  guestPolicy: 0x101,
  relocatableRegion: 0x102,
  pageTableRelocation: 0x103,
  parameterArea: 0x301,
  pageData: 0x302,
  parameterInsert: 0x303,
  vpContext: 0x304,
  requiredMemory: 0x305,
  idBlock: 0x30b,
  lastParameter: 0x313,
} as const;

const FLAG_2M = 1;
const FLAG_UNMEASURED = 2;
const FLAG_SHARED = 4;
const PAGE_TYPES = ['normal', 'secrets', 'cpuid', 'cpuid'] as const;
const OPTIONAL = 0x80000000;

/** Reads a file for SEV-SNP. `VmmError` if it is damaged, not for SNP, or not for KVM. */
export function parseIgvm(file: Uint8Array): IgvmFile {
  const fixed = viewOf(part(file, 0, 24, 'the IGVM header'));
  if (fixed.getUint32(0, true) !== MAGIC) throw refused('it does not begin with "IGVM"');
  const version = fixed.getUint32(4, true);
  const fixedSize = FIXED_SIZE[version];
  if (fixedSize === undefined) throw refused(`format version ${version} is not known`);
  const start = fixed.getUint32(8, true);
  const size = fixed.getUint32(12, true);
  if (start < fixedSize || start % 8 !== 0) throw refused(`headers at ${start}`);
  part(file, start, size, 'the headers of the IGVM file');
  checkSum(file, start + size, fixed.getUint32(20, true));
  return new Reader(file).read(start, start + size);
}

/** CRC-32 over all headers, its own field taken as zero. */
function checkSum(file: Uint8Array, end: number, expected: number): void {
  const headers = file.slice(0, end);
  headers.fill(0, 20, 24);
  const found = crc32(headers);
  if (found === expected) return;
  throw refused(`checksum 0x${expected.toString(16)}, computed 0x${found.toString(16)}`);
}

export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

class Reader {
  readonly #file: Uint8Array;
  readonly #directives: IgvmDirective[] = [];
  readonly #areas = new Map<number, number>();
  #mask: number | undefined;
  #policy: bigint | undefined;
  #expected: Uint8Array | undefined;

  constructor(file: Uint8Array) {
    this.#file = file;
  }

  read(start: number, end: number): IgvmFile {
    for (let at = start; at < end; ) {
      const header = viewOf(part(this.#file, at, 8, 'an IGVM header'));
      const length = header.getUint32(4, true);
      if (at + 8 + length > end) throw refused(`the header at ${at} is longer than the headers`);
      const body = part(this.#file, at + 8, length, 'an IGVM header');
      this.#header(header.getUint32(0, true), body);
      at += 8 + Math.ceil(length / 8) * 8;
    }
    if (this.#mask === undefined) throw refused('it is not for SEV-SNP');
    return {
      directives: this.#directives,
      ...(this.#policy === undefined ? {} : { policy: this.#policy }),
      ...(this.#expected === undefined ? {} : { expectedDigest: this.#expected }),
    };
  }

  #header(type: number, body: Uint8Array): void {
    const bytes = (size: number) =>
      viewOf(part(body, 0, size, `IGVM header 0x${type.toString(16)}`));
    switch (type) {
      case TYPE.supportedPlatform: {
        const platform = bytes(16);
        if (platform.getUint8(5) === PLATFORM_SEV_SNP) this.#mask ??= platform.getUint32(0, true);
        return;
      }
      case TYPE.guestPolicy: {
        const policy = bytes(16);
        if (this.#applies(policy.getUint32(8, true))) this.#policy = policy.getBigUint64(0, true);
        return;
      }
      case TYPE.parameterArea:
        this.#parameterArea(bytes(16));
        return;
      case TYPE.pageData:
        this.#pageData(bytes(24));
        return;
      case TYPE.parameterInsert:
        this.#parameterInsert(bytes(16));
        return;
      case TYPE.vpContext:
        this.#vpContext(bytes(20));
        return;
      case TYPE.idBlock:
        if (this.#applies(bytes(56).getUint32(0, true))) this.#expected = body.slice(8, 56);
        return;
      case TYPE.relocatableRegion:
      case TYPE.pageTableRelocation:
        throw new VmmError('unsupported', 'IGVM: files that can be relocated are not taken by KVM');
    }
    const parameter = type >= TYPE.requiredMemory && type <= TYPE.lastParameter;
    if (!parameter && type < OPTIONAL) {
      throw new VmmError('unsupported', `IGVM: header 0x${type.toString(16)} is not known`);
    }
  }

  #applies(mask: number): boolean {
    if (this.#mask === undefined) throw refused('a header comes before that of its platform');
    return (mask & this.#mask) !== 0;
  }

  #parameterArea(view: DataView): void {
    const size = page(view.getBigUint64(0, true), 'the size of a parameter area');
    if (size > PARAMETER_AREA_MAX) throw refused(`a parameter area of ${size} bytes`);
    this.#areas.set(view.getUint32(8, true), size);
  }

  #pageData(view: DataView): void {
    const flags = view.getUint32(16, true);
    if (!this.#applies(view.getUint32(8, true)) || flags & FLAG_SHARED) return;
    const type = PAGE_TYPES[view.getUint16(20, true)];
    if (type === undefined) throw refused(`page data of type ${view.getUint16(20, true)}`);
    const size = flags & FLAG_2M ? LARGE_PAGE : PAGE;
    const offset = view.getUint32(12, true);
    this.#directives.push({
      kind: 'page',
      gpa: page(view.getBigUint64(0, true), 'the address of a page'),
      type,
      size,
      unmeasured: (flags & FLAG_UNMEASURED) !== 0,
      ...(offset === 0 ? {} : { bytes: part(this.#file, offset, size, 'page data') }),
    });
  }

  #parameterInsert(view: DataView): void {
    if (!this.#applies(view.getUint32(8, true))) return;
    const index = view.getUint32(12, true);
    const size = this.#areas.get(index);
    if (size === undefined) throw refused(`parameter area ${index} is not there, or used before`);
    this.#areas.delete(index);
    const gpa = page(view.getBigUint64(0, true), 'the address of a parameter area');
    this.#directives.push({ kind: 'parameters', gpa, size });
  }

  #vpContext(view: DataView): void {
    if (!this.#applies(view.getUint32(8, true))) return;
    this.#directives.push({
      kind: 'vcpu',
      gpa: page(view.getBigUint64(0, true), 'the address of a VMSA'),
      index: view.getUint16(16, true),
      vmsa: part(this.#file, view.getUint32(12, true), PAGE, 'a VMSA'),
    });
  }
}

function page(value: bigint, what: string): number {
  if (value % BigInt(PAGE) === 0n && value < BigInt(HIGHEST_GPA)) return Number(value);
  throw refused(`${what}, 0x${value.toString(16)}, is not that of a page`);
}

function refused(message: string): VmmError {
  return new VmmError('invalid-file', `IGVM: ${message}`);
}
