/**
 * The 0F opcode map without its vector part, and groups 6 to 9, 15, 16 of table A-6. AMD APM vol. 3,
 * appendix A, tables; RDRAND and RDSEED from chapter 3.
 */
import { CONDITIONS } from '../define.js';
import { byMod, byPrefix, byReg, byRm, type Entry, repeat, row } from './row.js';

const nulls = (count: number): Entry[] => repeat(count, () => null);

const group6 = byReg(
  row('SLDT EvMw', 'prot'),
  row('STR EvMw', 'prot'),
  row('LLDT Ew', 'prot'),
  row('LTR Ew', 'prot'),
  row('VERR Ew', 'prot'),
  row('VERW Ew', 'prot'),
  null,
  null,
);

const group7 = byReg(
  byMod(row('SGDT Mp'), null),
  byMod(row('SIDT Mp'), byRm(row('MONITOR'), row('MWAIT'), ...nulls(6))),
  byMod(row('LGDT Mp'), byRm(row('XGETBV'), row('XSETBV'), ...nulls(6))),
  byMod(row('LIDT Mp'), byRm(null, row('VMMCALL'), ...nulls(6))),
  row('SMSW EvMw'),
  null,
  row('LMSW Ew'),
  byMod(row('INVLPG Mp'), byRm(row('SWAPGS', 'o64'), row('RDTSCP'), ...nulls(6))),
);

/** VMCALL is what Linux emits where it does not know that the processor is AMD's. */
const vmcall = row('VMMCALL');
const group7Register0 = byRm(null, vmcall, ...nulls(6));

const BIT_TESTS = ['BT', 'BTS', 'BTR', 'BTC'];
const group8 = byReg(...nulls(4), ...BIT_TESTS.map((name) => row(`${name} Ev,Ib`)));

const group9 = byReg(
  null,
  byMod(row('CMPXCHG8B Mq', 'w32'), null),
  ...nulls(4),
  byMod(null, row('RDRAND Rv')),
  byMod(null, row('RDSEED Rv')),
);

const group15 = byReg(
  byMod(row('FXSAVE Mp', 'w32'), byPrefix(null, null, row('RDFSBASE Ry', 'w32 o64'), null)),
  byMod(row('FXRSTOR Mp', 'w32'), byPrefix(null, null, row('RDGSBASE Ry', 'w32 o64'), null)),
  byMod(row('LDMXCSR Md', 'w32'), byPrefix(null, null, row('WRFSBASE Ry', 'w32 o64'), null)),
  byMod(row('STMXCSR Md', 'w32'), byPrefix(null, null, row('WRGSBASE Ry', 'w32 o64'), null)),
  byMod(row('XSAVE Mp', 'w32'), null),
  byMod(row('XRSTOR Mp', 'w32'), row('LFENCE')),
  byMod(row('XSAVEOPT Mp', 'w32'), row('MFENCE')),
  byMod(row('CLFLUSH Mb', 'byte'), row('SFENCE')),
);

/** Sparse: opcode to entry. The vector maps are merged into it. */
export const SECONDARY: Readonly<Record<number, Entry>> = {
  0x00: group6,
  0x01: byMod(group7, {
    by: 'reg',
    entries: (group7 as { entries: readonly Entry[] }).entries.map((entry, reg) =>
      reg === 0 ? group7Register0 : entry,
    ),
  }),
  0x02: row('LAR Gv,Ew', 'prot'),
  0x03: row('LSL Gv,Ew', 'prot'),
  0x05: row('SYSCALL', 'o64'),
  0x06: row('CLTS'),
  0x07: row('SYSRET', 'o64 w32'),
  0x08: row('INVD'),
  0x09: row('WBINVD'),
  0x0b: row('UD'),
  0x0d: byMod(row('PREFETCH Mb', 'byte'), row('NOP Ev')),
  0x18: row('NOP Ev'),
  0x19: row('NOP Ev'),
  0x1a: row('NOP Ev'),
  0x1b: row('NOP Ev'),
  0x1c: row('NOP Ev'),
  0x1d: row('NOP Ev'),
  0x1e: row('NOP Ev'),
  0x1f: row('NOP Ev'),
  0x20: row('MOVFROMCR Rn,Cn'),
  0x21: row('MOVFROMDR Rn,Dn'),
  0x22: row('MOVTOCR Cn,Rn'),
  0x23: row('MOVTODR Dn,Rn'),
  0x30: row('WRMSR'),
  0x31: row('RDTSC'),
  0x32: row('RDMSR'),
  0x33: row('RDPMC'),
  0x34: row('SYSENTER', 'i64'),
  0x35: row('SYSEXIT', 'i64'),
  ...Object.fromEntries(CONDITIONS.map((name, cc) => [0x40 + cc, row(`CMOV${name} Gv,Ev`)])),
  ...Object.fromEntries(CONDITIONS.map((name, cc) => [0x80 + cc, row(`J${name} Jz`, 'f64')])),
  ...Object.fromEntries(CONDITIONS.map((name, cc) => [0x90 + cc, row(`SET${name} Eb`, 'byte')])),
  0xa0: row('PUSHSEG fs', 'd64'),
  0xa1: row('POPSEG fs', 'd64'),
  0xa2: row('CPUID'),
  0xa3: row('BT Ev,Gv'),
  0xa4: row('SHLD Ev,Gv,Ib'),
  0xa5: row('SHLD Ev,Gv,CL'),
  0xa8: row('PUSHSEG gs', 'd64'),
  0xa9: row('POPSEG gs', 'd64'),
  0xab: row('BTS Ev,Gv'),
  0xac: row('SHRD Ev,Gv,Ib'),
  0xad: row('SHRD Ev,Gv,CL'),
  0xae: group15,
  0xaf: row('IMUL2 Gv,Ev'),
  0xb0: row('CMPXCHG Eb,Gb', 'byte'),
  0xb1: row('CMPXCHG Ev,Gv'),
  0xb2: row('LOADFAR Gv,Mp,ss'),
  0xb3: row('BTR Ev,Gv'),
  0xb4: row('LOADFAR Gv,Mp,fs'),
  0xb5: row('LOADFAR Gv,Mp,gs'),
  0xb6: row('MOVZX Gv,Eb'),
  0xb7: row('MOVZX Gv,Ew'),
  0xb8: byPrefix(null, null, row('POPCNT Gv,Ev', '', 'popcnt'), null),
  0xb9: row('UD Gv,Ev'),
  0xba: group8,
  0xbb: row('BTC Ev,Gv'),
  // Without the feature F3 0F BC and BD are plain BSF and BSR; the decoder knows the model.
  0xbc: byPrefix(row('BSF Gv,Ev'), row('BSF Gv,Ev'), row('TZCNT Gv,Ev', '', 'bmi1'), row('BSF Gv,Ev')),
  0xbd: byPrefix(row('BSR Gv,Ev'), row('BSR Gv,Ev'), row('LZCNT Gv,Ev', '', 'lzcnt'), row('BSR Gv,Ev')),
  0xbe: row('MOVSX Gv,Eb'),
  0xbf: row('MOVSX Gv,Ew'),
  0xc0: row('XADD Eb,Gb', 'byte'),
  0xc1: row('XADD Ev,Gv'),
  0xc7: group9,
  ...Object.fromEntries(repeat(8, () => row('BSWAP Zv')).map((entry, i) => [0xc8 + i, entry])),
  0xff: row('UD Gv,Ev'),
};
