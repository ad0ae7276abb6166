/**
 * SEV-SNP attestation reports, versions 2 to 5, and later ones on demand.
 *
 * Source: SEV-SNP ABI (AMD 56860), "MSG_REPORT_REQ" and the ATTESTATION_REPORT structure.
 * A signature is checked over the bytes as they were received, which a parsed report therefore
 * keeps; nothing here is ever encoded again. Whatever has no published meaning stays visible.
 */
import { VmmError } from '@cloister/core';
import { isZero, viewOf } from './bytes.js';
import {
  decodeFlags,
  type Flags,
  GUEST_POLICY_BITS,
  type GuestPolicyBit,
  PLATFORM_INFO_BITS,
  type PlatformInfoBit,
} from './flags.js';
import { type Product, productOfCpuid } from './product.js';

export const REPORT_SIZE = 0x4a0;
/** The signature covers this much from the start. */
export const SIGNED_SIZE = 0x2a0;

const VERSION_MIN = 2;
const VERSION_MAX = 5;

/** Which key signed: the chip's own (VCEK), the provider's (VLEK), or nobody. */
export type SigningKey = 'vcek' | 'vlek' | 'none' | 'unknown';

export interface FirmwareVersion {
  readonly major: number;
  readonly minor: number;
  readonly build: number;
}

export interface Report {
  /** The report as received. */
  readonly bytes: Uint8Array;
  readonly version: number;
  readonly guestSvn: number;
  readonly guestPolicy: Flags<GuestPolicyBit> & { readonly abi: string };
  readonly familyId: Uint8Array;
  readonly imageId: Uint8Array;
  /** 0xffffffff when the host asked for the report. */
  readonly vmpl: number;
  readonly signatureAlgorithm: number;
  readonly platformInfo: Flags<PlatformInfoBit>;
  readonly authorKeyEnabled: boolean;
  readonly chipKeyMasked: boolean;
  readonly signingKey: SigningKey;
  readonly reportData: Uint8Array;
  readonly measurement: Uint8Array;
  readonly hostData: Uint8Array;
  readonly idKeyDigest: Uint8Array;
  readonly authorKeyDigest: Uint8Array;
  readonly reportId: Uint8Array;
  readonly reportIdMa: Uint8Array;
  /** The 8 bytes of each TCB: their layout depends on the product. */
  readonly tcb: Readonly<Record<ReportTcb, Uint8Array>>;
  /** Absent before version 3. */
  readonly cpuid?: { readonly family: number; readonly model: number; readonly stepping: number };
  /** From `cpuid`; absent when that is absent or not known here. */
  readonly product?: Product;
  readonly chipId: Uint8Array;
  readonly currentFirmware: FirmwareVersion;
  readonly committedFirmware: FirmwareVersion;
  /** Absent before version 5. */
  readonly mitigations?: { readonly launch: bigint; readonly current: bigint };
  /** Fields that this version leaves reserved and that are not zero. */
  readonly unknown: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
}

export type ReportTcb = 'current' | 'reported' | 'committed' | 'launch';

/** Reads a report. `VmmError('invalid-file')` when it is none, `'unsupported'` by its version. */
export function parseReport(
  received: Uint8Array,
  options: { readonly laterVersions?: boolean } = {},
): Report {
  if (received.length !== REPORT_SIZE) {
    throw new VmmError('invalid-file', `report of ${received.length} bytes`, {
      remedy: `an SEV-SNP attestation report has ${REPORT_SIZE} bytes`,
    });
  }
  const bytes = Uint8Array.from(received);
  const view = viewOf(bytes);
  const version = view.getUint32(0, true);
  if (version < VERSION_MIN || (version > VERSION_MAX && options.laterVersions !== true)) {
    throw new VmmError('unsupported', `report version ${version}`, {
      remedy: version < VERSION_MIN ? 'versions start at 2' : 'allow later versions to read it',
    });
  }
  return { bytes, version, ...identity(bytes, view), ...platform(bytes, view, version) };
}

const KEYS: readonly SigningKey[] = ['vcek', 'vlek'];

function identity(bytes: Uint8Array, view: DataView) {
  const policy = view.getBigUint64(0x08, true);
  const signer = view.getUint32(0x48, true);
  const key = (signer >> 2) & 7;
  return {
    guestSvn: view.getUint32(0x04, true),
    guestPolicy: {
      // Bits 15:0 are the least ABI version, bit 17 is always one.
      ...decodeFlags(policy, GUEST_POLICY_BITS, 0x2ffffn),
      abi: `${(policy >> 8n) & 0xffn}.${policy & 0xffn}`,
    },
    familyId: bytes.subarray(0x10, 0x20),
    imageId: bytes.subarray(0x20, 0x30),
    vmpl: view.getUint32(0x30, true),
    signatureAlgorithm: view.getUint32(0x34, true),
    authorKeyEnabled: (signer & 1) !== 0,
    chipKeyMasked: (signer & 2) !== 0,
    signingKey: key === 7 ? 'none' : (KEYS[key] ?? 'unknown'),
    reportData: bytes.subarray(0x50, 0x90),
    measurement: bytes.subarray(0x90, 0xc0),
    hostData: bytes.subarray(0xc0, 0xe0),
    idKeyDigest: bytes.subarray(0xe0, 0x110),
    authorKeyDigest: bytes.subarray(0x110, 0x140),
    reportId: bytes.subarray(0x140, 0x160),
    reportIdMa: bytes.subarray(0x160, 0x180),
  } as const;
}

function platform(bytes: Uint8Array, view: DataView, version: number) {
  const [family, model, stepping] = [bytes[0x188]!, bytes[0x189]!, bytes[0x18a]!];
  const product = version >= 3 ? productOfCpuid(family, model) : undefined;
  return {
    platformInfo: decodeFlags(view.getBigUint64(0x40, true), PLATFORM_INFO_BITS),
    tcb: {
      current: bytes.subarray(0x38, 0x40),
      reported: bytes.subarray(0x180, 0x188),
      committed: bytes.subarray(0x1e0, 0x1e8),
      launch: bytes.subarray(0x1f0, 0x1f8),
    },
    ...(version >= 3 ? { cpuid: { family, model, stepping } } : {}),
    ...(product === undefined ? {} : { product }),
    chipId: bytes.subarray(0x1a0, 0x1e0),
    currentFirmware: firmware(bytes, 0x1e8),
    committedFirmware: firmware(bytes, 0x1ec),
    ...(version >= 5
      ? {
          mitigations: {
            launch: view.getBigUint64(0x1f8, true),
            current: view.getBigUint64(0x200, true),
          },
        }
      : {}),
    unknown: reservedOf(bytes, version),
  };
}

function firmware(bytes: Uint8Array, at: number): FirmwareVersion {
  return { build: bytes[at]!, minor: bytes[at + 1]!, major: bytes[at + 2]! };
}

/** The reserved fields that hold something after all. */
function reservedOf(bytes: Uint8Array, version: number): Report['unknown'] {
  const fields = [
    [0x4c, 0x50],
    [version >= 3 ? 0x18b : 0x188, 0x1a0],
    [0x1eb, 0x1ec],
    [0x1ef, 0x1f0],
    [version >= 5 ? 0x208 : 0x1f8, SIGNED_SIZE],
  ] as const;
  const found = fields
    .map(([from, to]) => ({ offset: from as number, bytes: bytes.subarray(from, to) }))
    .filter((field) => !isZero(field.bytes));
  // Bits 31:5 of the word that says who signed.
  const signer = viewOf(bytes).getUint32(0x48, true) >>> 5;
  return signer === 0 ? found : [{ offset: 0x48, bytes: bytes.subarray(0x48, 0x4c) }, ...found];
}
