/**
 * The vector part of the 0F opcode map: MMX, SSE, SSE2, SSE3. AMD APM vol. 3, appendix A, tables
 * and groups 12 to 14 of table A-6.
 *
 * Columns by mandatory prefix: none, 66, F3, F2. An XMM register that is the first operand is
 * always written `Vo`; MMX forms have no operand of 128 bits.
 */
import { byMod, byPrefix, byReg, type Entry, type Row, row } from './row.js';

/** A row of a vector instruction: an operand of size `y` is 32 bits, 64 with REX.W. */
function v(text: string, feature: string): Row {
  return row(text, /y(,|$)/.test(text) ? 'w32' : 'any', feature);
}

const sse = (text: string): Row => v(text, 'sse');
const sse2 = (text: string): Row => v(text, 'sse2');
const sse3 = (text: string): Row => v(text, 'sse3');
const mmx = (text: string): Row => v(text, 'mmx');

/** MMX without a prefix, SSE2 with 66. */
function both(mnemonic: string, mmxFeature = 'mmx'): Entry {
  const narrow = v(`${mnemonic} Pq,Qq`, mmxFeature);
  return byPrefix(narrow, sse2(`${mnemonic} Vo,Wo`), null, null);
}

/** Interleaving of low halves: the MMX form reads 32 bits of memory. */
function unpackLow(mnemonic: string): Entry {
  return byPrefix(mmx(`${mnemonic} Pq,Qd`), sse2(`${mnemonic} Vo,Wo`), null, null);
}

/** PS, PD, SS, SD. */
function float(name: string, immediate = ''): Entry {
  return byPrefix(
    sse(`${name}PS Vo,Wo${immediate}`),
    sse2(`${name}PD Vo,Wo${immediate}`),
    sse(`${name}SS Vo,Wd${immediate}`),
    sse2(`${name}SD Vo,Wq${immediate}`),
  );
}

/** PS and PD. */
function packed(name: string, operands = 'Vo,Wo'): Entry {
  return byPrefix(sse(`${name}PS ${operands}`), sse2(`${name}PD ${operands}`), null, null);
}

/** Shift of a register by an immediate. */
function shift(mnemonic: string): Entry {
  return byMod(null, byPrefix(mmx(`${mnemonic} Nq,Ib`), sse2(`${mnemonic} Uo,Ib`), null, null));
}

function only66(entry: Entry): Entry {
  return byPrefix(null, entry, null, null);
}

export const SSE_0F: Readonly<Record<number, Entry>> = {
  0x10: byPrefix(
    sse('MOVUPS Vo,Wo'),
    sse2('MOVUPS Vo,Wo'),
    sse('MOVSS Vo,Wd'),
    sse2('MOVSD Vo,Wq'),
  ),
  0x11: byPrefix(
    sse('MOVUPS Wo,Vo'),
    sse2('MOVUPS Wo,Vo'),
    sse('MOVSS Wd,Vo'),
    sse2('MOVSD Wq,Vo'),
  ),
  0x12: byPrefix(
    byMod(sse('MOVLPS Vo,Mq'), sse('MOVHLPS Vo,Uo')),
    byMod(sse2('MOVLPS Vo,Mq'), null),
    sse3('MOVSLDUP Vo,Wo'),
    sse3('MOVDDUP Vo,Wq'),
  ),
  0x13: byMod(byPrefix(sse('MOVLPS Mq,Vo'), sse2('MOVLPS Mq,Vo'), null, null), null),
  0x14: packed('UNPCKL'),
  0x15: packed('UNPCKH'),
  0x16: byPrefix(
    byMod(sse('MOVHPS Vo,Mq'), sse('MOVLHPS Vo,Uo')),
    byMod(sse2('MOVHPS Vo,Mq'), null),
    sse3('MOVSHDUP Vo,Wo'),
    null,
  ),
  0x17: byMod(byPrefix(sse('MOVHPS Mq,Vo'), sse2('MOVHPS Mq,Vo'), null, null), null),
  0x28: byPrefix(sse('MOVAPS Vo,Wo'), sse2('MOVAPS Vo,Wo'), null, null),
  0x29: byPrefix(sse('MOVAPS Wo,Vo'), sse2('MOVAPS Wo,Vo'), null, null),
  0x2a: byPrefix(
    sse('CVTPI2PS Vo,Qq'),
    sse2('CVTPI2PD Vo,Qq'),
    sse('CVTSI2SS Vo,Ey'),
    sse2('CVTSI2SD Vo,Ey'),
  ),
  0x2b: byMod(byPrefix(sse('MOVNTPS Mo,Vo'), sse2('MOVNTPS Mo,Vo'), null, null), null),
  0x2c: byPrefix(
    sse('CVTTPS2PI Pq,Wq'),
    sse2('CVTTPD2PI Pq,Wo'),
    sse('CVTTSS2SI Gy,Wd'),
    sse2('CVTTSD2SI Gy,Wq'),
  ),
  0x2d: byPrefix(
    sse('CVTPS2PI Pq,Wq'),
    sse2('CVTPD2PI Pq,Wo'),
    sse('CVTSS2SI Gy,Wd'),
    sse2('CVTSD2SI Gy,Wq'),
  ),
  0x2e: byPrefix(sse('UCOMISS Vo,Wd'), sse2('UCOMISD Vo,Wq'), null, null),
  0x2f: byPrefix(sse('COMISS Vo,Wd'), sse2('COMISD Vo,Wq'), null, null),
  0x50: byMod(null, packed('MOVMSK', 'Gd,Uo')),
  0x51: float('SQRT'),
  0x52: byPrefix(sse('RSQRTPS Vo,Wo'), null, sse('RSQRTSS Vo,Wd'), null),
  0x53: byPrefix(sse('RCPPS Vo,Wo'), null, sse('RCPSS Vo,Wd'), null),
  0x54: byPrefix(sse('ANDPS Vo,Wo'), sse2('ANDPS Vo,Wo'), null, null),
  0x55: byPrefix(sse('ANDNPS Vo,Wo'), sse2('ANDNPS Vo,Wo'), null, null),
  0x56: byPrefix(sse('ORPS Vo,Wo'), sse2('ORPS Vo,Wo'), null, null),
  0x57: byPrefix(sse('XORPS Vo,Wo'), sse2('XORPS Vo,Wo'), null, null),
  0x58: float('ADD'),
  0x59: float('MUL'),
  0x5a: byPrefix(
    sse2('CVTPS2PD Vo,Wq'),
    sse2('CVTPD2PS Vo,Wo'),
    sse2('CVTSS2SD Vo,Wd'),
    sse2('CVTSD2SS Vo,Wq'),
  ),
  0x5b: byPrefix(sse2('CVTDQ2PS Vo,Wo'), sse2('CVTPS2DQ Vo,Wo'), sse2('CVTTPS2DQ Vo,Wo'), null),
  0x5c: float('SUB'),
  0x5d: float('MIN'),
  0x5e: float('DIV'),
  0x5f: float('MAX'),
  0x60: unpackLow('PUNPCKLBW'),
  0x61: unpackLow('PUNPCKLWD'),
  0x62: unpackLow('PUNPCKLDQ'),
  0x63: both('PACKSSWB'),
  0x64: both('PCMPGTB'),
  0x65: both('PCMPGTW'),
  0x66: both('PCMPGTD'),
  0x67: both('PACKUSWB'),
  0x68: both('PUNPCKHBW'),
  0x69: both('PUNPCKHWD'),
  0x6a: both('PUNPCKHDQ'),
  0x6b: both('PACKSSDW'),
  0x6c: only66(sse2('PUNPCKLQDQ Vo,Wo')),
  0x6d: only66(sse2('PUNPCKHQDQ Vo,Wo')),
  0x6e: byPrefix(mmx('MOVD Pq,Ey'), sse2('MOVD Vo,Ey'), null, null),
  0x6f: byPrefix(mmx('MOVQ Pq,Qq'), sse2('MOVAPS Vo,Wo'), sse2('MOVUPS Vo,Wo'), null),
  0x70: byPrefix(
    sse('PSHUFW Pq,Qq,Ib'),
    sse2('PSHUFD Vo,Wo,Ib'),
    sse2('PSHUFHW Vo,Wo,Ib'),
    sse2('PSHUFLW Vo,Wo,Ib'),
  ),
  0x71: byReg(null, null, shift('PSRLW'), null, shift('PSRAW'), null, shift('PSLLW'), null),
  0x72: byReg(null, null, shift('PSRLD'), null, shift('PSRAD'), null, shift('PSLLD'), null),
  0x73: byReg(
    null,
    null,
    shift('PSRLQ'),
    byMod(null, only66(sse2('PSRLDQ Uo,Ib'))),
    null,
    null,
    shift('PSLLQ'),
    byMod(null, only66(sse2('PSLLDQ Uo,Ib'))),
  ),
  0x74: both('PCMPEQB'),
  0x75: both('PCMPEQW'),
  0x76: both('PCMPEQD'),
  0x77: byPrefix(mmx('EMMS'), null, null, null),
  0x7c: byPrefix(null, sse3('HADDPD Vo,Wo'), null, sse3('HADDPS Vo,Wo')),
  0x7d: byPrefix(null, sse3('HSUBPD Vo,Wo'), null, sse3('HSUBPS Vo,Wo')),
  0x7e: byPrefix(mmx('MOVD Ey,Pq'), sse2('MOVD Ey,Vo'), sse2('MOVQ Vo,Wq'), null),
  0x7f: byPrefix(mmx('MOVQ Qq,Pq'), sse2('MOVAPS Wo,Vo'), sse2('MOVUPS Wo,Vo'), null),
  0xc2: float('CMP', ',Ib'),
  0xc3: byMod(byPrefix(sse2('MOVNTI My,Gy'), null, null, null), null),
  0xc4: byPrefix(sse('PINSRW Pq,Ew,Ib'), sse2('PINSRW Vo,Ew,Ib'), null, null),
  0xc5: byMod(null, byPrefix(sse('PEXTRW Gd,Nq,Ib'), sse2('PEXTRW Gd,Uo,Ib'), null, null)),
  0xc6: packed('SHUF', 'Vo,Wo,Ib'),
  0xd0: byPrefix(null, sse3('ADDSUBPD Vo,Wo'), null, sse3('ADDSUBPS Vo,Wo')),
  0xd1: both('PSRLW'),
  0xd2: both('PSRLD'),
  0xd3: both('PSRLQ'),
  0xd4: both('PADDQ', 'sse2'),
  0xd5: both('PMULLW'),
  0xd6: byPrefix(
    null,
    sse2('MOVQ Wq,Vo'),
    byMod(null, sse2('MOVQ2DQ Vo,Nq')),
    byMod(null, sse2('MOVDQ2Q Pq,Uo')),
  ),
  0xd7: byMod(null, byPrefix(sse('PMOVMSKB Gd,Nq'), sse2('PMOVMSKB Gd,Uo'), null, null)),
  0xd8: both('PSUBUSB'),
  0xd9: both('PSUBUSW'),
  0xda: both('PMINUB', 'sse'),
  0xdb: both('PAND'),
  0xdc: both('PADDUSB'),
  0xdd: both('PADDUSW'),
  0xde: both('PMAXUB', 'sse'),
  0xdf: both('PANDN'),
  0xe0: both('PAVGB', 'sse'),
  0xe1: both('PSRAW'),
  0xe2: both('PSRAD'),
  0xe3: both('PAVGW', 'sse'),
  0xe4: both('PMULHUW', 'sse'),
  0xe5: both('PMULHW'),
  0xe6: byPrefix(null, sse2('CVTTPD2DQ Vo,Wo'), sse2('CVTDQ2PD Vo,Wq'), sse2('CVTPD2DQ Vo,Wo')),
  0xe7: byMod(byPrefix(sse('MOVNTQ Mq,Pq'), sse2('MOVNTPS Mo,Vo'), null, null), null),
  0xe8: both('PSUBSB'),
  0xe9: both('PSUBSW'),
  0xea: both('PMINSW', 'sse'),
  0xeb: both('POR'),
  0xec: both('PADDSB'),
  0xed: both('PADDSW'),
  0xee: both('PMAXSW', 'sse'),
  0xef: both('PXOR'),
  0xf0: byMod(byPrefix(null, null, null, sse3('LDDQU Vo,Mo')), null),
  0xf1: both('PSLLW'),
  0xf2: both('PSLLD'),
  0xf3: both('PSLLQ'),
  0xf4: both('PMULUDQ', 'sse2'),
  0xf5: both('PMADDWD'),
  0xf6: both('PSADBW', 'sse'),
  0xf7: byMod(
    null,
    byPrefix(
      row('MASKMOV Pq,Nq', 'any addr', 'sse'),
      row('MASKMOV Vo,Uo', 'any addr', 'sse2'),
      null,
      null,
    ),
  ),
  0xf8: both('PSUBB'),
  0xf9: both('PSUBW'),
  0xfa: both('PSUBD'),
  0xfb: both('PSUBQ', 'sse2'),
  0xfc: both('PADDB'),
  0xfd: both('PADDW'),
  0xfe: both('PADDD'),
};
