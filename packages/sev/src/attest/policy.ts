/**
 * What a verifier demands of a report that is genuine. What is left out is not checked, but for
 * what is dangerous to leave out: debugging and a migration agent are refused and the VMPL is 0
 * unless the policy says otherwise.
 *
 * Source: SEV-SNP ABI (AMD 56860), ATTESTATION_REPORT and "Guest Policy".
 */
import { isZero, sameBytes, toHex } from './bytes.js';
import { type Check, check } from './check.js';
import type { Flags, GuestPolicyBit, PlatformInfoBit } from './flags.js';
import type { Product } from './product.js';
import type { FirmwareVersion, Report, ReportTcb } from './report.js';
import { decodeTcb, reaches, type Tcb, tcbText } from './tcb.js';

/** The TCBs that a minimum can be set for: the four of a report, and the certificate's. */
export type TcbKind = ReportTcb | 'certificate';

export const TCB_KINDS: readonly TcbKind[] = [
  'current',
  'reported',
  'committed',
  'launch',
  'certificate',
];

/** Bits that must be set and bits that must not. */
export interface BitRules<Name extends string> {
  readonly required?: readonly Name[];
  readonly refused?: readonly Name[];
  /** Refuse bits that have no name here; they are let pass otherwise. */
  readonly refuseUnknown?: boolean;
}

export interface Policy {
  /** Let a guest pass that its host may debug, and so read. Default false. */
  readonly allowDebug?: boolean;
  /** Let a guest pass that a migration agent may export. Default false. */
  readonly allowMigrationAgent?: boolean;
  /** The privilege levels that may have asked for the report. Default [0]. */
  readonly vmpl?: readonly number[] | 'any';
  /** Least levels for each kind of TCB. */
  readonly minimumTcb?: Readonly<Partial<Record<TcbKind, Partial<Tcb>>>>;
  /** Each of these: the report's value is one of those listed. */
  readonly measurement?: readonly Uint8Array[];
  readonly hostData?: readonly Uint8Array[];
  readonly reportData?: readonly Uint8Array[];
  readonly idKeyDigest?: readonly Uint8Array[];
  readonly authorKeyDigest?: readonly Uint8Array[];
  readonly familyId?: readonly Uint8Array[];
  readonly imageId?: readonly Uint8Array[];
  readonly chipId?: readonly Uint8Array[];
  readonly minimumGuestSvn?: number;
  /** Least firmware, current and committed, as major.minor and build. */
  readonly minimumFirmware?: FirmwareVersion;
  readonly guestPolicy?: BitRules<GuestPolicyBit>;
  readonly platformInfo?: BitRules<PlatformInfoBit>;
  /** Mitigation bits that must be set at launch and now; a report before version 5 has none. */
  readonly requiredMitigations?: bigint;
  /** Refuse a report in which reserved fields hold something. Default false: they are shown. */
  readonly refuseUnknownFields?: boolean;
  /** Demand a CRL, current and without the certificates. Default false. */
  readonly requireCrl?: boolean;
  /** Let a report pass that does not name its chip though its key does. Default false. */
  readonly allowMaskedChipId?: boolean;
}

/** The fields compared with a list. */
export const LISTED = [
  'measurement',
  'hostData',
  'reportData',
  'idKeyDigest',
  'authorKeyDigest',
  'familyId',
  'imageId',
  'chipId',
] as const;

export function policyChecks(
  report: Report,
  vek: { readonly product: Product; readonly tcb: Tcb },
  policy: Policy,
): Check[] {
  return [
    ...guestChecks(report, policy),
    ...tcbChecks(report, vek, policy),
    ...LISTED.flatMap((field) => listCheck(field, report[field], policy[field])),
    ...firmwareChecks(report, policy),
    ...bitChecks('policy.guest-policy', report.guestPolicy, policy.guestPolicy),
    ...bitChecks('policy.platform-info', report.platformInfo, policy.platformInfo),
    ...mitigationChecks(report, policy.requiredMitigations),
  ];
}

/** What of the report no rule looked at and a relying party usually should. */
export function uncheckedBy(policy: Policy, crlGiven: boolean): string[] {
  const missing: string[] = LISTED.slice(0, 3).filter((field) => policy[field] === undefined);
  if (policy.minimumTcb === undefined) missing.push('minimumTcb');
  if (!crlGiven && policy.requireCrl !== true) missing.push('revocation');
  return missing;
}

const yesNo = (value: boolean): string => (value ? 'yes' : 'no');

function guestChecks(report: Report, policy: Policy): Check[] {
  const debug = report.guestPolicy.set.includes('debug');
  const migrates = report.guestPolicy.set.includes('migrationAgent');
  const agent = !report.reportIdMa.every((byte) => byte === 0xff);
  const levels = policy.vmpl ?? [0];
  const svn = policy.minimumGuestSvn;
  return [
    check('policy.debug', policy.allowDebug === true || !debug, 'no', yesNo(debug)),
    check(
      'policy.migration-agent',
      policy.allowMigrationAgent === true || !(migrates || agent),
      'neither allowed nor there',
      `${migrates ? 'allowed' : 'not allowed'}, ${agent ? toHex(report.reportIdMa) : 'none'}`,
    ),
    check(
      'policy.vmpl',
      levels === 'any' || levels.includes(report.vmpl),
      levels === 'any' ? 'any' : levels.join(' or '),
      report.vmpl === 0xffffffff ? 'the host asked' : `${report.vmpl}`,
    ),
    ...(svn === undefined
      ? []
      : [
          check('policy.guest-svn', report.guestSvn >= svn, `${svn} or more`, `${report.guestSvn}`),
        ]),
    ...(policy.refuseUnknownFields === true
      ? [
          check(
            'policy.unknown-fields',
            report.unknown.length === 0,
            'reserved fields are zero',
            report.unknown.map(({ offset }) => `0x${offset.toString(16)}`).join(', ') ||
              'so they are',
          ),
        ]
      : []),
  ];
}

function tcbChecks(
  report: Report,
  vek: { readonly product: Product; readonly tcb: Tcb },
  { minimumTcb = {} }: Policy,
): Check[] {
  return TCB_KINDS.flatMap((kind) => {
    const minimum = minimumTcb[kind];
    if (minimum === undefined) return [];
    const tcb = kind === 'certificate' ? vek.tcb : decodeTcb(report.tcb[kind], vek.product);
    const expected = `at least ${tcbText(minimum)}`;
    return [check(`policy.minimum-tcb.${kind}`, reaches(tcb, minimum), expected, tcbText(tcb))];
  });
}

/** `reportData` is `policy.report-data`. */
const idOf = (field: string): Check['id'] =>
  `policy.${field.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

function listCheck(field: string, found: Uint8Array, allowed?: readonly Uint8Array[]): Check[] {
  if (allowed === undefined) return [];
  const ok = allowed.some((value) => sameBytes(padded(value, found.length), found));
  const expected = allowed.map(toHex).join(' or ') || 'nothing is allowed';
  return [check(idOf(field), ok, expected, isZero(found) ? 'all zero' : toHex(found))];
}

/** Report data shorter than the field stands at its start; a Turin chip's identifier too. */
function padded(value: Uint8Array, length: number): Uint8Array {
  if (value.length >= length) return value;
  const whole = new Uint8Array(length);
  whole.set(value);
  return whole;
}

const numberOf = ({ major, minor, build }: FirmwareVersion): number =>
  (major * 256 + minor) * 256 + build;
const versionText = ({ major, minor, build }: FirmwareVersion): string =>
  `${major}.${minor} build ${build}`;

function firmwareChecks(report: Report, { minimumFirmware: least }: Policy): Check[] {
  if (least === undefined) return [];
  const rows = [
    ['policy.firmware.current', report.currentFirmware],
    ['policy.firmware.committed', report.committedFirmware],
  ] as const;
  return rows.map(([id, version]) =>
    check(
      id,
      numberOf(version) >= numberOf(least),
      `at least ${versionText(least)}`,
      versionText(version),
    ),
  );
}

function bitChecks<Name extends string>(
  id: Check['id'],
  flags: Flags<Name>,
  rules: BitRules<Name> | undefined,
): Check[] {
  if (rules === undefined) return [];
  const { required = [], refused = [], refuseUnknown = false } = rules;
  const wrong = [
    ...required.filter((name) => !flags.set.includes(name)),
    ...refused.filter((name) => flags.set.includes(name)),
  ];
  const unknown = flags.unknown === 0n ? '' : `unknown 0x${flags.unknown.toString(16)}`;
  const expected = [
    ...required.map((name) => `${name} set`),
    ...refused.map((name) => `${name} clear`),
    ...(refuseUnknown ? ['no unknown bit'] : []),
  ].join(', ');
  const ok = wrong.length === 0 && !(refuseUnknown && unknown !== '');
  const found = [...flags.set, ...(unknown === '' ? [] : [unknown])].join(', ');
  return [check(id, ok, expected, found || 'no bit set')];
}

function mitigationChecks({ mitigations }: Report, required: bigint | undefined): Check[] {
  if (required === undefined) return [];
  const launch = mitigations?.launch ?? 0n;
  const current = mitigations?.current ?? 0n;
  const ok = (launch & required) === required && (current & required) === required;
  const hex = (value: bigint): string => `0x${value.toString(16)}`;
  const found = mitigations ? `launch ${hex(launch)}, current ${hex(current)}` : 'none reported';
  return [check('policy.mitigations', ok, `${hex(required)} in both`, found)];
}
