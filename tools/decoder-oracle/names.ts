/**
 * What iced-x86 calls an instruction that our table has under a name of its own.
 */
import type { FormInfo } from '../../packages/backend-emu/src/decode/variant.js';

const CONDITIONS: Readonly<Record<string, string>> = {
  O: 'o', NO: 'no', B: 'b', NB: 'ae', Z: 'e', NZ: 'ne', BE: 'be', NBE: 'a',
  S: 's', NS: 'ns', P: 'p', NP: 'np', L: 'l', NL: 'ge', LE: 'le', NLE: 'g',
}; // biome-ignore format: table

const RENAMED: Readonly<Record<string, string>> = {
  CALLI: 'Call', CALLF: 'Call', CALLFI: 'Call', JMPI: 'Jmp', JMPF: 'Jmp', JMPFI: 'Jmp',
  RETI: 'Ret', RETFI: 'Retf', PUSHSEG: 'Push', POPSEG: 'Pop', MOVABS: 'Mov',
  MOVFROMSEG: 'Mov', MOVTOSEG: 'Mov', MOVFROMCR: 'Mov', MOVTOCR: 'Mov', MOVFROMDR: 'Mov',
  MOVTODR: 'Mov', IMUL1: 'Imul', IMUL2: 'Imul', IMUL3: 'Imul', LOOPZ: 'Loope', LOOPNZ: 'Loopne',
  XLAT: 'Xlatb', ICEBP: 'Int1', FSTP1: 'Fstpnce',
  LOADFAR: 'Les Lds Lss Lfs Lgs', VMMCALL: 'Vmmcall Vmcall Vmgexit', UD: 'Ud0 Ud1 Ud2',
  FNONE: 'Fneni Fndisi Fnsetpm', SHL: 'Shl Sal', WBINVD: 'Wbinvd Wbnoinvd',
  NOP: 'Nop Reservednop Prefetch Prefetchw Prefetchwt1 Prefetchnta Prefetcht0 Prefetcht1 Prefetcht2'
    + ' Prefetchit0 Prefetchit1 Cldemote Endbr32 Endbr64 Rdsspd Rdsspq',
  MOVUPS: 'Movups Movupd Movdqu', MOVAPS: 'Movaps Movapd Movdqa', MOVLPS: 'Movlps Movlpd',
  MOVHPS: 'Movhps Movhpd', MOVNTPS: 'Movntps Movntpd Movntdq', MOVD: 'Movd Movq',
  ANDPS: 'Andps Andpd', ANDNPS: 'Andnps Andnpd', ORPS: 'Orps Orpd', XORPS: 'Xorps Xorpd',
  PEXTRD: 'Pextrd Pextrq', PINSRD: 'Pinsrd Pinsrq', MASKMOV: 'Maskmovq Maskmovdqu',
  FADDTO: 'Fadd', FMULTO: 'Fmul', FSUBTO: 'Fsub', FSUBRTO: 'Fsubr', FDIVTO: 'Fdiv',
  FDIVRTO: 'Fdivr', PCMPESTRI: 'Pcmpestri Pcmpestri64', PCMPESTRM: 'Pcmpestrm Pcmpestrm64',
  FXSAVE: 'Fxsave Fxsave64', FXRSTOR: 'Fxrstor Fxrstor64', XSAVE: 'Xsave Xsave64',
  XRSTOR: 'Xrstor Xrstor64', XSAVEOPT: 'Xsaveopt Xsaveopt64', XSAVEC: 'Xsavec Xsavec64',
  SYSRET: 'Sysret Sysretq', PREFETCH: 'Prefetch Prefetchw Prefetchwt1',
}; // biome-ignore format: table

const BY_WIDTH: Readonly<Record<string, readonly [string, string, string]>> = {
  CBW: ['Cbw', 'Cwde', 'Cdqe'],
  CWD: ['Cwd', 'Cdq', 'Cqo'],
  PUSHA: ['Pusha', 'Pushad', ''],
  POPA: ['Popa', 'Popad', ''],
  PUSHF: ['Pushf', 'Pushfd', 'Pushfq'],
  POPF: ['Popf', 'Popfd', 'Popfq'],
  IRET: ['Iret', 'Iretd', 'Iretq'],
};

const STRINGS = new Set(['MOVS', 'CMPS', 'STOS', 'LODS', 'SCAS', 'INS', 'OUTS']);
const WIDTH: Readonly<Record<number, string>> = { 8: 'b', 16: 'w', 32: 'd', 64: 'q' };

/** Names in iced-x86 of the form that `info` is of; more than one where ours is coarser. */
export function icedNames({ form }: FormInfo): readonly string[] {
  const { mnemonic, size, addressSize } = form;
  const renamed = RENAMED[mnemonic];
  if (renamed !== undefined) return renamed.split(' ');
  const byWidth = BY_WIDTH[mnemonic];
  if (byWidth !== undefined) return [byWidth[size === 16 ? 0 : size === 32 ? 1 : 2]];
  if (STRINGS.has(mnemonic)) return [capital(mnemonic) + WIDTH[size]];
  if (mnemonic === 'JCXZ') return [{ 16: 'Jcxz', 32: 'Jecxz', 64: 'Jrcxz' }[addressSize] ?? ''];
  const conditional = /^(J|CMOV|SET)([A-Z]+)$/.exec(mnemonic);
  const condition = conditional === null ? undefined : CONDITIONS[conditional[2]];
  if (conditional !== null && condition !== undefined) return [capital(conditional[1]) + condition];
  return [capital(mnemonic)];
}

/** The table writes names in capitals throughout, iced-x86 the first letter only. */
export function capital(name: string): string {
  return name[0] + name.slice(1).toLowerCase();
}
