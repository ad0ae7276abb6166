/**
 * Launch digests as chains: regions go in, a digest comes out. One kind for SNP, where each page
 * is hashed into the next (SNP firmware ABI 56860, 8.17.2 "SNP_LAUNCH_UPDATE", table PAGE_INFO),
 * one for SEV and SEV-ES, which hash contents only (SEV API 55766, 6.2 and 6.3).
 */
import { type LaunchPageType, VmmError, type VmplPermissions } from '@cloister/core';
import { viewOf } from '../bytes.js';
import { type Hasher, hashes } from '../hash/port.js';

export const PAGE_SIZE = 4096;
export const SNP_DIGEST_SIZE = 48;

/** What goes into a digest in one piece: core's `LaunchRegion`, without bytes where none count. */
export interface MeasuredRegion {
  readonly name: string;
  readonly gpa: number;
  readonly size: number;
  readonly type: LaunchPageType;
  /** Contents of `normal` and `vmsa` regions. */
  readonly bytes?: Uint8Array;
  readonly permissions?: VmplPermissions;
}

/** One step of a measurement, for listings. SEV and SEV-ES have one per region, SNP per page. */
export interface MeasuredPage {
  readonly name: string;
  readonly gpa: number;
  readonly size: number;
  readonly type: LaunchPageType;
  /** The digest after this page. */
  readonly digest: Uint8Array;
}

export type PageListener = (page: MeasuredPage) => void;

export interface LaunchChain {
  add(region: MeasuredRegion, listener?: PageListener): void;
  /** The digest so far; more may be added afterwards. */
  digest(): Uint8Array;
  /** A chain that goes on from here on its own. */
  fork(): LaunchChain;
}

/** PAGE_TYPE of SNP_LAUNCH_UPDATE. */
export const SNP_PAGE_TYPE: Readonly<Record<LaunchPageType, number>> = {
  normal: 1,
  vmsa: 2,
  zero: 3,
  unmeasured: 4,
  secrets: 5,
  cpuid: 6,
};

const PAGE_INFO_SIZE = 0x70;

/** The SNP launch digest, from zeros or from the digest of what was measured before. */
export function snpChain(start?: Uint8Array): LaunchChain {
  if (start !== undefined && start.length !== SNP_DIGEST_SIZE) {
    throw new VmmError('invalid-argument', `an SNP digest has 48 bytes, not ${start.length}`);
  }
  return new SnpChain(start ?? new Uint8Array(SNP_DIGEST_SIZE));
}

class SnpChain implements LaunchChain {
  #digest: Uint8Array;
  /** The VMSAs of all but the first vCPU are one page: hashed once. */
  #lastVmsa: { readonly page: Uint8Array; readonly contents: Uint8Array } | undefined;
  readonly #info = new Uint8Array(PAGE_INFO_SIZE);
  readonly #view = viewOf(this.#info);

  constructor(start: Uint8Array) {
    this.#digest = start;
  }

  add(region: MeasuredRegion, listener?: PageListener): void {
    const { gpa, size, type, bytes, permissions } = region;
    const hasContents = type === 'normal' || type === 'vmsa';
    if (gpa % PAGE_SIZE !== 0 || size % PAGE_SIZE !== 0) {
      const where = `0x${gpa.toString(16)}, 0x${size.toString(16)} bytes`;
      throw new VmmError('invalid-file', `${region.name}: not whole pages (${where})`);
    }
    if (hasContents && bytes?.length !== size) {
      throw new VmmError('invalid-argument', `${region.name}: contents have another size`);
    }
    const info = this.#info;
    info[0x62] = SNP_PAGE_TYPE[type];
    info[0x65] = permissions?.vmpl1 ?? 0;
    info[0x66] = permissions?.vmpl2 ?? 0;
    info[0x67] = permissions?.vmpl3 ?? 0;
    this.#view.setUint16(0x60, PAGE_INFO_SIZE, true);
    if (!hasContents) info.fill(0, 0x30, 0x60);
    const { sha384 } = hashes();
    for (let at = 0; at < size; at += PAGE_SIZE) {
      if (hasContents) info.set(this.#contents(region, at), 0x30);
      info.set(this.#digest, 0);
      this.#view.setUint32(0x68, (gpa + at) >>> 0, true);
      this.#view.setUint32(0x6c, Math.floor((gpa + at) / 2 ** 32), true);
      this.#digest = sha384(info);
      if (listener === undefined) continue;
      listener({ name: region.name, gpa: gpa + at, size: PAGE_SIZE, type, digest: this.#digest });
    }
  }

  digest(): Uint8Array {
    return Uint8Array.from(this.#digest);
  }

  fork(): LaunchChain {
    const other = new SnpChain(this.#digest);
    other.#lastVmsa = this.#lastVmsa;
    return other;
  }

  #contents({ type, bytes }: MeasuredRegion, at: number): Uint8Array {
    const { sha384 } = hashes();
    if (type !== 'vmsa') return sha384(bytes!.subarray(at, at + PAGE_SIZE));
    if (this.#lastVmsa?.page !== bytes) this.#lastVmsa = { page: bytes!, contents: sha384(bytes!) };
    return this.#lastVmsa!.contents;
  }
}

/** The SEV and SEV-ES launch digest, before LAUNCH_MEASURE makes an HMAC of it. */
export function sevChain(): LaunchChain {
  return new ContentsChain(hashes().createSha256());
}

class ContentsChain implements LaunchChain {
  readonly #hash: Hasher;

  constructor(hash: Hasher) {
    this.#hash = hash;
  }

  add({ name, gpa, size, type, bytes }: MeasuredRegion, listener?: PageListener): void {
    // Only LAUNCH_UPDATE_DATA and LAUNCH_UPDATE_VMSA exist here: all else is not measured.
    if (type === 'normal' || type === 'vmsa') this.#hash.update(bytes!);
    else if (type === 'zero') this.#hash.update(new Uint8Array(size));
    listener?.({ name, gpa, size, type, digest: this.digest() });
  }

  digest(): Uint8Array {
    return Uint8Array.from(this.#hash.fork().digest());
  }

  fork(): LaunchChain {
    return new ContentsChain(this.#hash.fork());
  }
}
