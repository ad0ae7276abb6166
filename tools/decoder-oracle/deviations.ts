/**
 * Where the decoder and iced-x86 are known to differ, and why.
 */
import type { Bits, Disagreement } from './comparison.js';

/**
 * Instructions that this processor does not have, by reason, as iced-x86 names them or, for whole
 * encodings, their kind. They are undefined opcodes.
 */
export const NOT_IMPLEMENTED: readonly (readonly [reason: string, names: string])[] = [
  ['no CPU model has AVX, AVX-512, AMX, XOP, or CMPccXADD', 'VEX EVEX XOP'],
  ['AMD withdrew them: 3DNow!', 'D3NOW Femms'],
  ['AMD only, in no model: SSE4A', 'Extrq Insertq Movntsd Movntss'],
  ['supervisor states, in no model', 'Xsaves Xsaves64 Xrstors Xrstors64'],
  ['valid in system management mode only, which no guest reaches', 'Rsm'],
  ['no nested virtualization: SVM', 'Vmrun Vmload Vmsave Stgi Clgi Skinit Invlpga'],
  [
    'Intel virtualization',
    `
      Getsec Getsecq Invept Invvpid Vmclear Vmfunc Vmlaunch Vmptrld Vmptrst Vmread Vmresume
      Vmwrite Vmxoff Vmxon Tdcall Seamcall Seamops Seamret
    `,
  ],
  [
    'AMD, in no model',
    `
      Invlpgb Tlbsync Monitorx Mwaitx Clzero Rdpru Mcommit Psmash Pvalidate Rmpadjust Rmpquery
      Rmpupdate
    `,
  ],
  [
    'shadow stacks',
    `
      Clrssbsy Incsspd Incsspq Rstorssp Saveprevssp Setssbsy Wrssd Wrssq Wrussd Wrussq
    `,
  ],
  [
    "Intel's Key Locker",
    `
      Aesdec128kl Aesdec256kl Aesdecwide128kl Aesdecwide256kl Aesenc128kl Aesenc256kl
      Aesencwide128kl Aesencwide256kl Encodekey128 Encodekey256 Loadiwkey
    `,
  ],
  [
    'Intel, in no model',
    `
      Aadd Aand Aor Axor Encls Enclu Enclv Enqcmd Enqcmds Erets Eretu Gf2p8affineinvqb
      Gf2p8affineqb Gf2p8mulb Hreset Lkgs Movdir64b Movdiri Pbndkb Pconfig Ptwrite Rdmsrlist
      Tpause Umonitor Umwait Wrmsrlist Wrmsrns Xresldtrk Xsusldtrk
    `,
  ],
  ['user interrupts', 'Clui Senduipi Stui Testui Uiret'],
  ['transactional memory', 'Xabort Xbegin Xend Xtest'],
  [
    "VIA's",
    `
      Ccs_encrypt Ccs_hash Montmul Undoc Xcryptcbc Xcryptcfb Xcryptctr Xcryptecb Xcryptofb
      Xsha1 Xsha256 Xsha512 Xsha512_alt Xstore Xstore_alt
    `,
  ],
];

/** A difference in an instruction that both know. */
export interface Deviation {
  readonly kind: Disagreement['kind'];
  readonly names: readonly string[];
  readonly bits: readonly Bits[];
  /** Part of the detail. */
  readonly detail: string;
  /** The bytes, in hexadecimal; without it any. */
  readonly code?: RegExp;
  readonly reason: string;
}

export const DEVIATIONS: readonly Deviation[] = [
  {
    kind: 'refused',
    names: ['Sysenter', 'Sysexit', 'Sysexitq'],
    bits: [64],
    detail: 'UD',
    reason: 'AMD APM vol. 3, SYSENTER, SYSEXIT: undefined in long mode; iced-x86 has Intel’s rule',
  },
  {
    kind: 'operand',
    names: ['Movsxd'],
    bits: [64],
    detail: 'MOVSXD.16 r16,',
    reason: 'AMD APM vol. 3, appendix A: the source of MOVSXD is Ed whatever the operand size',
  },
  {
    kind: 'refused',
    names: ['Reservednop'],
    bits: [16, 32, 64],
    detail: 'UD',
    code: /0f0d[c-f]/,
    reason: 'AMD APM vol. 3, PREFETCH: the operand must be memory',
  },
];

const absent = new Set(NOT_IMPLEMENTED.flatMap(([, names]) => names.trim().split(/\s+/)));

/** Names in the table of what is not implemented. */
export function absentNames(): ReadonlySet<string> {
  return absent;
}

/** Whether a table explains the disagreement. */
export function explained(found: Disagreement, bits: Bits, bytes: string): boolean {
  if (found.kind === 'refused' && absent.has(found.name)) return true;
  return DEVIATIONS.some(
    ({ kind, names, bits: modes, detail, code }) =>
      kind === found.kind &&
      names.includes(found.name) &&
      modes.includes(bits) &&
      found.detail.includes(detail) &&
      code?.test(bytes) !== false,
  );
}
