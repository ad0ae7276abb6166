/**
 * The vector part of the 0F 3A opcode map: SSSE3, SSE4.1, SSE4.2, PCLMULQDQ, AES
 * and SHA. AMD APM vol. 3, appendix A, table
 *
 */
import { byMod, byPrefix, type Entry, type Row, row } from './row.js';

const v = (text: string, feature: string): Row =>
  row(text, /y(,|$)/.test(text) ? 'w32' : 'any', feature);
const only66 = (entry: Entry): Entry => byPrefix(null, entry, null, null);
const sse41 = (text: string): Row => v(text, 'sse4_1');
/** REX.W makes the explicit lengths 64 bits wide. */
const sse42 = (text: string): Entry => only66(row(text, 'w32', 'sse4_2'));

export const SSE_0F3A: Readonly<Record<number, Entry>> = {
  0x08: only66(sse41('ROUNDPS Vo,Wo,Ib')),
  0x09: only66(sse41('ROUNDPD Vo,Wo,Ib')),
  0x0a: only66(sse41('ROUNDSS Vo,Wd,Ib')),
  0x0b: only66(sse41('ROUNDSD Vo,Wq,Ib')),
  0x0c: only66(sse41('BLENDPS Vo,Wo,Ib')),
  0x0d: only66(sse41('BLENDPD Vo,Wo,Ib')),
  0x0e: only66(sse41('PBLENDW Vo,Wo,Ib')),
  0x0f: byPrefix(v('PALIGNR Pq,Qq,Ib', 'ssse3'), v('PALIGNR Vo,Wo,Ib', 'ssse3'), null, null),
  0x14: only66(byMod(sse41('PEXTRB Mb,Vo,Ib'), sse41('PEXTRB Rd,Vo,Ib'))),
  0x15: only66(byMod(sse41('PEXTRW Mw,Vo,Ib'), sse41('PEXTRW Rd,Vo,Ib'))),
  0x16: only66(sse41('PEXTRD Ey,Vo,Ib')),
  0x17: only66(sse41('EXTRACTPS Ed,Vo,Ib')),
  0x20: only66(byMod(sse41('PINSRB Vo,Mb,Ib'), sse41('PINSRB Vo,Rd,Ib'))),
  0x21: only66(byMod(sse41('INSERTPS Vo,Md,Ib'), sse41('INSERTPS Vo,Uo,Ib'))),
  0x22: only66(sse41('PINSRD Vo,Ey,Ib')),
  0x40: only66(sse41('DPPS Vo,Wo,Ib')),
  0x41: only66(sse41('DPPD Vo,Wo,Ib')),
  0x42: only66(sse41('MPSADBW Vo,Wo,Ib')),
  0x44: only66(v('PCLMULQDQ Vo,Wo,Ib', 'pclmulqdq')),
  0x60: sse42('PCMPESTRM Vo,Wo,Ib'),
  0x61: sse42('PCMPESTRI Vo,Wo,Ib'),
  0x62: sse42('PCMPISTRM Vo,Wo,Ib'),
  0x63: sse42('PCMPISTRI Vo,Wo,Ib'),
  0xcc: byPrefix(v('SHA1RNDS4 Vo,Wo,Ib', 'sha_ni'), null, null, null),
  0xdf: only66(v('AESKEYGENASSIST Vo,Wo,Ib', 'aes')),
};
