/**
 * x87 control instructions in the D8 to DF escapes. AMD APM vol. 3, appendix A, table A-11.
 */
import { byMod, byReg, byRm, type Entry, repeat, row } from './row.js';

const nulls = (count: number): Entry[] => repeat(count, () => null);

export const X87_CONTROL: Readonly<Record<number, Entry>> = {
  0xd9: byMod(
    byReg(...nulls(5), row('FLDCW Mw', 'w32'), null, row('FNSTCW Mw', 'w32')),
    null,
  ),
  0xdb: byMod(
    null,
    byReg(...nulls(4), byRm(null, null, row('FNCLEX'), row('FNINIT'), ...nulls(4)), ...nulls(3)),
  ),
  0xdd: byMod(byReg(...nulls(7), row('FNSTSW Mw', 'w32')), null),
  0xdf: byMod(null, byReg(...nulls(4), byRm(row('FNSTSW AX'), ...nulls(7)), ...nulls(3))),
};
