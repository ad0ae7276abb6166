/**
 * The vector part of the 0F 38 opcode map: SSSE3, SSE4.1, SSE4.2 with CRC32, AES and SHA;
 * and beside it MOVBE, which shares its opcodes with CRC32, ADX and INVPCID. AMD APM vol. 3,
 * appendix A, table A-9.
 */
import { byMod, byPrefix, type Entry, type Row, row } from './row.js';

const v = (text: string, feature: string): Row => row(text, 'any', feature);
const sse41 = (text: string): Entry => byPrefix(null, v(text, 'sse4_1'), null, null);

const aes = (text: string): Entry => byPrefix(null, v(text, 'aes'), null, null);
const sha = (text: string): Entry => byPrefix(v(text, 'sha_ni'), null, null, null);

const adx = (text: string): Row => row(text, 'w32', 'adx');

/** MMX without a prefix, XMM with 66. */
function ssse3(mnemonic: string, operands = ''): Entry {
  const narrow = v(`${mnemonic} Pq,Qq${operands}`, 'ssse3');
  return byPrefix(narrow, v(`${mnemonic} Vo,Wo${operands}`, 'ssse3'), null, null);
}

/** The integer instructions have the operand size of any other: 66 counts beside F2. */
function crc32(source: string): Row {
  return row(`CRC32 Gy,${source}`, '', 'sse4_2');
}

export const SSE_0F38: Readonly<Record<number, Entry>> = {
  0x00: ssse3('PSHUFB'),
  0x01: ssse3('PHADDW'),
  0x02: ssse3('PHADDD'),
  0x03: ssse3('PHADDSW'),
  0x04: ssse3('PMADDUBSW'),
  0x05: ssse3('PHSUBW'),
  0x06: ssse3('PHSUBD'),
  0x07: ssse3('PHSUBSW'),
  0x08: ssse3('PSIGNB'),
  0x09: ssse3('PSIGNW'),
  0x0a: ssse3('PSIGND'),
  0x0b: ssse3('PMULHRSW'),
  0x10: sse41('PBLENDVB Vo,Wo'),
  0x14: sse41('BLENDVPS Vo,Wo'),
  0x15: sse41('BLENDVPD Vo,Wo'),
  0x17: sse41('PTEST Vo,Wo'),
  0x1c: ssse3('PABSB'),
  0x1d: ssse3('PABSW'),
  0x1e: ssse3('PABSD'),
  0x20: sse41('PMOVSXBW Vo,Wq'),
  0x21: sse41('PMOVSXBD Vo,Wd'),
  0x22: sse41('PMOVSXBQ Vo,Ww'),
  0x23: sse41('PMOVSXWD Vo,Wq'),
  0x24: sse41('PMOVSXWQ Vo,Wd'),
  0x25: sse41('PMOVSXDQ Vo,Wq'),
  0x28: sse41('PMULDQ Vo,Wo'),
  0x29: sse41('PCMPEQQ Vo,Wo'),
  0x2a: byMod(sse41('MOVNTDQA Vo,Mo'), null),
  0x2b: sse41('PACKUSDW Vo,Wo'),
  0x30: sse41('PMOVZXBW Vo,Wq'),
  0x31: sse41('PMOVZXBD Vo,Wd'),
  0x32: sse41('PMOVZXBQ Vo,Ww'),
  0x33: sse41('PMOVZXWD Vo,Wq'),
  0x34: sse41('PMOVZXWQ Vo,Wd'),
  0x35: sse41('PMOVZXDQ Vo,Wq'),
  0x37: byPrefix(null, v('PCMPGTQ Vo,Wo', 'sse4_2'), null, null),
  0x38: sse41('PMINSB Vo,Wo'),
  0x39: sse41('PMINSD Vo,Wo'),
  0x3a: sse41('PMINUW Vo,Wo'),
  0x3b: sse41('PMINUD Vo,Wo'),
  0x3c: sse41('PMAXSB Vo,Wo'),
  0x3d: sse41('PMAXSD Vo,Wo'),
  0x3e: sse41('PMAXUW Vo,Wo'),
  0x3f: sse41('PMAXUD Vo,Wo'),
  0x40: sse41('PMULLD Vo,Wo'),
  0x41: sse41('PHMINPOSUW Vo,Wo'),
  0x82: byMod(byPrefix(null, row('INVPCID Gn,Mo', '', 'invpcid'), null, null), null),
  0xc8: sha('SHA1NEXTE Vo,Wo'),
  0xc9: sha('SHA1MSG1 Vo,Wo'),
  0xca: sha('SHA1MSG2 Vo,Wo'),
  0xcb: sha('SHA256RNDS2 Vo,Wo'),
  0xcc: sha('SHA256MSG1 Vo,Wo'),
  0xcd: sha('SHA256MSG2 Vo,Wo'),
  0xdb: aes('AESIMC Vo,Wo'),
  0xdc: aes('AESENC Vo,Wo'),
  0xdd: aes('AESENCLAST Vo,Wo'),
  0xde: aes('AESDEC Vo,Wo'),
  0xdf: aes('AESDECLAST Vo,Wo'),
  0xf0: byPrefix(
    byMod(row('MOVBE Gv,Mv', '', 'movbe'), null),
    byMod(row('MOVBE Gv,Mv', '', 'movbe'), null),
    null,
    crc32('Eb'),
  ),
  0xf1: byPrefix(
    byMod(row('MOVBE Mv,Gv', '', 'movbe'), null),
    byMod(row('MOVBE Mv,Gv', '', 'movbe'), null),
    null,
    crc32('Ev'),
  ),
  0xf6: byPrefix(null, adx('ADCX Gy,Ey'), adx('ADOX Gy,Ey'), null),
};
