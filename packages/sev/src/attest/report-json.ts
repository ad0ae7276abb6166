/**
 * A report as plain JSON, for people and programs that look at one: bytes in hexadecimal, bits by
 * name, unknown ones as they are.
 */
import { toHex } from './bytes.js';
import type { Flags } from './flags.js';
import type { Product } from './product.js';
import type { FirmwareVersion, Report } from './report.js';
import { decodeTcb, type Tcb, unknownTcbBytes } from './tcb.js';

export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [name: string]: Json };

/**
 * `product` says how to read the TCBs of a report that does not name it; without it they are read
 * as Milan and Genoa have them, the only processors with version 2 firmware.
 */
export function reportJson(report: Report, product?: Product): { readonly [name: string]: Json } {
  const layout = report.product ?? product ?? 'Milan';
  const tcb = (raw: Uint8Array): Json => tcbJson(raw, layout);
  const { mitigations, cpuid } = report;
  return {
    version: report.version,
    product: report.product ?? product ?? null,
    ...(cpuid === undefined ? {} : { cpuid: { ...cpuid } }),
    guestSvn: report.guestSvn,
    guestPolicy: { ...flagsJson(report.guestPolicy), abi: report.guestPolicy.abi },
    familyId: toHex(report.familyId),
    imageId: toHex(report.imageId),
    vmpl: report.vmpl,
    signatureAlgorithm: report.signatureAlgorithm,
    signingKey: report.signingKey,
    authorKeyEnabled: report.authorKeyEnabled,
    chipKeyMasked: report.chipKeyMasked,
    platformInfo: flagsJson(report.platformInfo),
    reportData: toHex(report.reportData),
    measurement: toHex(report.measurement),
    hostData: toHex(report.hostData),
    idKeyDigest: toHex(report.idKeyDigest),
    authorKeyDigest: toHex(report.authorKeyDigest),
    reportId: toHex(report.reportId),
    reportIdMa: toHex(report.reportIdMa),
    chipId: toHex(report.chipId),
    currentTcb: tcb(report.tcb.current),
    reportedTcb: tcb(report.tcb.reported),
    committedTcb: tcb(report.tcb.committed),
    launchTcb: tcb(report.tcb.launch),
    currentFirmware: firmwareText(report.currentFirmware),
    committedFirmware: firmwareText(report.committedFirmware),
    ...(mitigations === undefined
      ? {}
      : {
          launchMitigations: hex(mitigations.launch),
          currentMitigations: hex(mitigations.current),
        }),
    unknownFields: report.unknown.map(({ offset, bytes }) => ({
      offset: `0x${offset.toString(16)}`,
      bytes: toHex(bytes),
    })),
  };
}

const hex = (value: bigint): string => `0x${value.toString(16)}`;

const flagsJson = ({ value, set, unknown }: Flags<string>) => ({
  value: hex(value),
  set,
  unknown: hex(unknown),
});

function tcbJson(raw: Uint8Array, product: Product): Json {
  const levels: Tcb = decodeTcb(raw, product);
  const unknown = unknownTcbBytes(raw, product);
  return { ...levels, ...(unknown === undefined ? {} : { raw: unknown }) };
}

const firmwareText = ({ major, minor, build }: FirmwareVersion): string =>
  `${major}.${minor}.${build}`;
