/**
 * The 0F opcode map without its vector part, and groups 6 to 9, 15, 16 of table A-6.
 * AMD APM vol. 3, appendix A, tables; RDRAND and RDSEED from chapter 3.
 */
import { CONDITIONS } from '../define.js';
import { extensionFeature } from '../extension-instructions.js';
import { byMod, byPrefix, byReg, byRm, byWide, type Entry, repeat, row } from './row.js';

const nulls = (count: number): Entry[] => repeat(count, () => null);

/** With any mandatory prefix the encoding means something else. */
const plain = (entry: Entry): Entry => byPrefix(entry, null, null, null);
/** F2 and F3 make it something else, 66 has its usual meaning. */
const withSize = (entry: Entry): Entry => byPrefix(entry, entry, null, null);

/** An instruction that only an extension of the VM's executes. */
const extended = (mnemonic: string, flags = ''): Entry =>
  row(mnemonic, flags, extensionFeature(mnemonic));

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

/** F2 and F3 in front of VMMCALL mean nothing unless there is VMGEXIT. */
const vmgexit = extended('VMGEXIT');
const vmmcall = row('VMMCALL');
const vmmcallOrExit = byPrefix(vmmcall, vmmcall, vmgexit, vmgexit);
/** 0F 01 FD to FF. */
const rmpInstructions = [
  byPrefix(null, null, extended('RMPQUERY', 'o64'), null),
  byPrefix(null, null, extended('RMPADJUST', 'o64'), extended('RMPUPDATE', 'o64')),
  byPrefix(null, null, extended('PSMASH', 'o64'), extended('PVALIDATE')),
];

const group7 = byReg(
  byMod(row('SGDT Mp'), null),
  byMod(
    row('SIDT Mp'),
    byRm(
      plain(row('MONITOR')),
      plain(row('MWAIT')),
      plain(row('CLAC', '', 'smap')),
      plain(row('STAC', '', 'smap')),
      byPrefix(null, extended('TDCALL'), null, null),
      ...nulls(2),
      byPrefix(null, extended('SEAMCALL', 'o64'), null, null),
    ),
  ),
  byMod(row('LGDT Mp'), plain(byRm(row('XGETBV'), row('XSETBV'), ...nulls(6)))),
  byMod(row('LIDT Mp'), byRm(null, vmmcallOrExit, ...nulls(6))),
  row('SMSW EvMw'),
  byMod(
    null,
    plain(
      byRm(
        // Intel SDM vol. 2, SERIALIZE.
        row('SERIALIZE', 'any', 'serialize'),
        ...nulls(5),
        row('RDPKRU', '', 'pku'),
        row('WRPKRU', '', 'pku'),
      ),
    ),
  ),
  row('LMSW Ew'),
  byMod(
    row('INVLPG Mp'),
    byRm(row('SWAPGS', 'o64'), row('RDTSCP', '', 'rdtscp'), ...nulls(3), ...rmpInstructions),
  ),
);

/** VMCALL is what Linux emits where it does not know that the processor is AMD's. */
const vmcall = plain(row('VMMCALL'));
const group7Register0 = byRm(null, vmcall, ...nulls(6));

const BIT_TESTS = ['BT', 'BTS', 'BTR', 'BTC'];
const group8 = byReg(...nulls(4), ...BIT_TESTS.map((name) => row(`${name} Ev,Ib`)));

const group9 = byReg(
  null,
  byMod(byWide(row('CMPXCHG8B Mq', 'any'), row('CMPXCHG16B Mo', 'any', 'cx16')), null),
  ...nulls(2),
  byMod(plain(row('XSAVEC Mp', 'w32', 'xsavec')), null),
  null,
  byMod(null, withSize(row('RDRAND Rv'))),
  byMod(null, byPrefix(row('RDSEED Rv'), row('RDSEED Rv'), row('RDPID Rn', 'any', 'rdpid'), null)),
);

const group15 = byReg(
  byMod(
    plain(row('FXSAVE Mp', 'w32')),
    byPrefix(null, null, row('RDFSBASE Ry', 'w32 o64', 'fsgsbase'), null),
  ),
  byMod(
    plain(row('FXRSTOR Mp', 'w32')),
    byPrefix(null, null, row('RDGSBASE Ry', 'w32 o64', 'fsgsbase'), null),
  ),
  byMod(
    plain(row('LDMXCSR Md', 'w32')),
    byPrefix(null, null, row('WRFSBASE Ry', 'w32 o64', 'fsgsbase'), null),
  ),
  byMod(
    plain(row('STMXCSR Md', 'w32')),
    byPrefix(null, null, row('WRGSBASE Ry', 'w32 o64', 'fsgsbase'), null),
  ),
  byMod(plain(row('XSAVE Mp', 'w32', 'xsave')), null),
  byMod(plain(row('XRSTOR Mp', 'w32', 'xsave')), plain(row('LFENCE'))),
  byMod(
    byPrefix(row('XSAVEOPT Mp', 'w32', 'xsaveopt'), row('CLWB Mb', 'byte', 'clwb'), null, null),
    plain(row('MFENCE')),
  ),
  byMod(
    byPrefix(row('CLFLUSH Mb', 'byte'), row('CLFLUSHOPT Mb', 'byte', 'clflushopt'), null, null),
    plain(row('SFENCE')),
  ),
);

/** Sparse: opcode to entry. The vector maps are merged into it. */
export const SECONDARY: Readonly<Record<number, Entry>> = {
  0: group6,
  1: byMod(group7, {
    by: 'reg',
    entries: (group7 as { entries: readonly Entry[] }).entries.map((entry, reg) =>
      reg === 0 ? group7Register0 : entry,
    ),
  }),
  2: row('LAR Gv,Ew', 'prot'),
  3: row('LSL Gv,Ew', 'prot'),
  5: row('SYSCALL'),
  6: row('CLTS'),
  7: row('SYSRET', 'w32'),
  8: row('INVD'),
  9: row('WBINVD'),
  11: row('UD'),
  13: byMod(row('PREFETCH Mb', 'byte'), null),
  24: row('NOP Ev'),
  25: row('NOP Ev'),
  26: row('NOP Ev'),
  27: row('NOP Ev'),
  28: row('NOP Ev'),
  29: row('NOP Ev'),
  30: row('NOP Ev'),
  31: row('NOP Ev'),
  32: row('MOVFROMCR Rn,Cn'),
  33: row('MOVFROMDR Rn,Dn'),
  34: row('MOVTOCR Cn,Rn'),
  35: row('MOVTODR Dn,Rn'),
  48: row('WRMSR'),
  49: row('RDTSC'),
  50: row('RDMSR'),
  51: row('RDPMC'),
  52: row('SYSENTER', 'i64'),
  53: row('SYSEXIT', 'i64'),
  ...Object.fromEntries(CONDITIONS.map((name, cc) => [0x40 + cc, row(`CMOV${name} Gv,Ev`)])),
  ...Object.fromEntries(CONDITIONS.map((name, cc) => [0x80 + cc, row(`J${name} Jz`, 'd64')])),
  ...Object.fromEntries(CONDITIONS.map((name, cc) => [0x90 + cc, row(`SET${name} Eb`, 'byte')])),
  160: row('PUSHSEG fs', 'd64'),
  161: row('POPSEG fs', 'd64'),
  162: row('CPUID'),
  163: row('BT Ev,Gv'),
  164: row('SHLD Ev,Gv,Ib'),
  165: row('SHLD Ev,Gv,CL'),
  168: row('PUSHSEG gs', 'd64'),
  169: row('POPSEG gs', 'd64'),
  171: row('BTS Ev,Gv'),
  172: row('SHRD Ev,Gv,Ib'),
  173: row('SHRD Ev,Gv,CL'),
  174: group15,
  175: row('IMUL2 Gv,Ev'),
  176: row('CMPXCHG Eb,Gb', 'byte'),
  177: row('CMPXCHG Ev,Gv'),
  178: row('LOADFAR Gv,Mp,ss', 'z'),
  179: row('BTR Ev,Gv'),
  180: row('LOADFAR Gv,Mp,fs', 'z'),
  181: row('LOADFAR Gv,Mp,gs', 'z'),
  182: row('MOVZX Gv,Eb'),
  183: row('MOVZX Gv,Ew'),
  184: byPrefix(null, null, row('POPCNT Gv,Ev', '', 'popcnt'), null),
  185: row('UD Gv,Ev'),
  186: group8,
  187: row('BTC Ev,Gv'),
  // Without the feature F3 0F BC and BD are plain BSF and BSR; the decoder knows the model.
  188: byPrefix(
    row('BSF Gv,Ev'),
    row('BSF Gv,Ev'),
    row('TZCNT Gv,Ev', '', 'bmi1'),
    row('BSF Gv,Ev'),
  ),
  189: byPrefix(
    row('BSR Gv,Ev'),
    row('BSR Gv,Ev'),
    row('LZCNT Gv,Ev', '', 'abm'),
    row('BSR Gv,Ev'),
  ),
  190: row('MOVSX Gv,Eb'),
  191: row('MOVSX Gv,Ew'),
  192: row('XADD Eb,Gb', 'byte'),
  193: row('XADD Ev,Gv'),
  199: group9,
  ...Object.fromEntries(repeat(8, () => row('BSWAP Zv')).map((entry, i) => [0xc8 + i, entry])),
  // UD0 has no ModRM byte with AMD.
  255: row('UD'),
};
