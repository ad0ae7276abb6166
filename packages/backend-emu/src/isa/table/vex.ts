/**
 * The general-purpose instructions of the VEX opcode maps 2 and 3: BMI1 and BMI2.
 *
 * Source: AMD APM vol. 3, appendix A, tables and VEX group 17 of table A-23; chapter 3
 * for each. There are no AVX instructions: no model has AVX.
 */
import { byPrefix, byReg, type Entry, type Row, repeat, row } from './row.js';

const bmi1 = (text: string): Row => row(text, 'w32', 'bmi1');
const bmi2 = (text: string): Row => row(text, 'w32', 'bmi2');
const plain = (entry: Entry): Entry => byPrefix(entry, null, null, null);

export const VEX_0F38: Readonly<Record<number, Entry>> = {
  0xf2: plain(bmi1('ANDN Gy,By,Ey')),
  0xf3: plain(
    byReg(
      null,
      bmi1('BLSR By,Ey'),
      bmi1('BLSMSK By,Ey'),
      bmi1('BLSI By,Ey'),
      ...repeat(4, () => null),
    ),
  ),
  0xf5: byPrefix(bmi2('BZHI Gy,Ey,By'), null, bmi2('PEXT Gy,By,Ey'), bmi2('PDEP Gy,By,Ey')),
  0xf6: byPrefix(null, null, null, bmi2('MULX Gy,By,Ey')),
  0xf7: byPrefix(
    bmi1('BEXTR Gy,Ey,By'),
    bmi2('SHLX Gy,Ey,By'),
    bmi2('SARX Gy,Ey,By'),
    bmi2('SHRX Gy,Ey,By'),
  ),
};

export const VEX_0F3A: Readonly<Record<number, Entry>> = {
  0xf0: byPrefix(null, null, null, bmi2('RORX Gy,Ey,Ib')),
};
