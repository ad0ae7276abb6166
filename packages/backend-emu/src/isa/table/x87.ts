/**
 * The x87 escapes D8 to DF. AMD APM vol. 3, appendix A, table A-15; the aliases FCOM, FXCH and FSTP
 * in DC, DD, DE and DF, which processors have and no manual lists any more, from the 387's.
 */
import { byMod, byReg, byRm, type Entry, type Row, repeat, row } from './row.js';

const f = (text: string): Row => row(text, 'any');
/** Environments depend on the operand size. */
const sized = (text: string): Row => row(text, 'z');
const nulls = (count: number): Entry[] => repeat(count, () => null);
const NAMES = ['FADD', 'FMUL', 'FCOM', 'FCOMP', 'FSUB', 'FSUBR', 'FDIV', 'FDIVR'];
/** In DC and DE the direction is the other, and so are the reversed forms. */
const TO_NAMES = ['FADD', 'FMUL', '', '', 'FSUBR', 'FSUB', 'FDIVR', 'FDIV'];

const memory = (operand: string, integer = false): Entry =>
  byReg(...NAMES.map((name) => f(`${integer ? name.replace('F', 'FI') : name} ${operand}`)));

/**
 * FSUBTO computes ST(i) - ST(0): the functions take the operand first, so that the names in the
 * manual and in the table agree.
 */
const to = (suffix: string, middle: Entry[]): Entry =>
  byReg(
    ...TO_NAMES.map((name, index) => (name === '' ? middle[index - 2] : f(`${name}${suffix} Fn`))),
  );

const only = (index: number, entry: Entry): Entry =>
  byRm(...repeat(8, (rm) => (rm === index ? entry : null)));

export const X87: Readonly<Record<number, Entry>> = {
  216: byMod(memory('Md'), byReg(...NAMES.map((name) => f(`${name} Fn`)))),
  217: byMod(
    byReg(
      f('FLD Md'),
      null,
      f('FST Md'),
      f('FSTP Md'),
      sized('FLDENV Mp'),
      f('FLDCW Mw'),
      sized('FNSTENV Mp'),
      f('FNSTCW Mw'),
    ),
    byReg(
      f('FLD Fn'),
      f('FXCH Fn'),
      only(0, f('FNOP')),
      f('FSTP1 Fn'),
      byRm(f('FCHS'), f('FABS'), null, null, f('FTST'), f('FXAM'), null, null),
      byRm(
        ...['FLD1', 'FLDL2T', 'FLDL2E', 'FLDPI', 'FLDLG2', 'FLDLN2', 'FLDZ'].map((name) => f(name)),
        null,
      ),
      byRm(
        ...['F2XM1', 'FYL2X', 'FPTAN', 'FPATAN', 'FXTRACT', 'FPREM1', 'FDECSTP', 'FINCSTP'].map(
          (name) => f(name),
        ),
      ),
      byRm(
        ...['FPREM', 'FYL2XP1', 'FSQRT', 'FSINCOS', 'FRNDINT', 'FSCALE', 'FSIN', 'FCOS'].map(
          (name) => f(name),
        ),
      ),
    ),
  ),
  218: byMod(
    memory('Md', true),
    byReg(
      f('FCMOVB Fn'),
      f('FCMOVE Fn'),
      f('FCMOVBE Fn'),
      f('FCMOVU Fn'),
      null,
      only(1, f('FUCOMPP Fn')),
      null,
      null,
    ),
  ),
  219: byMod(
    byReg(
      f('FILD Md'),
      f('FISTTP Md'),
      f('FIST Md'),
      f('FISTP Md'),
      null,
      f('FLD Mt'),
      null,
      f('FSTP Mt'),
    ),
    byReg(
      f('FCMOVNB Fn'),
      f('FCMOVNE Fn'),
      f('FCMOVNBE Fn'),
      f('FCMOVNU Fn'),
      byRm(f('FNONE'), f('FNONE'), f('FNCLEX'), f('FNINIT'), f('FNONE'), ...nulls(3)),
      f('FUCOMI Fn'),
      f('FCOMI Fn'),
      null,
    ),
  ),
  220: byMod(memory('Mq'), to('TO', [f('FCOM Fn'), f('FCOMP Fn')])),
  221: byMod(
    byReg(
      f('FLD Mq'),
      f('FISTTP Mq'),
      f('FST Mq'),
      f('FSTP Mq'),
      sized('FRSTOR Mp'),
      null,
      sized('FNSAVE Mp'),
      f('FNSTSW Mw'),
    ),
    byReg(
      f('FFREE Fn'),
      f('FXCH Fn'),
      f('FST Fn'),
      f('FSTP Fn'),
      f('FUCOM Fn'),
      f('FUCOMP Fn'),
      null,
      null,
    ),
  ),
  222: byMod(memory('Mw', true), to('P', [f('FCOMP Fn'), only(1, f('FCOMPP Fn'))])),
  223: byMod(
    byReg(
      f('FILD Mw'),
      f('FISTTP Mw'),
      f('FIST Mw'),
      f('FISTP Mw'),
      f('FBLD Mt'),
      f('FILD Mq'),
      f('FBSTP Mt'),
      f('FISTP Mq'),
    ),
    byReg(
      f('FFREEP Fn'),
      f('FXCH Fn'),
      f('FSTP Fn'),
      f('FSTP Fn'),
      only(0, f('FNSTSW AX')),
      f('FUCOMIP Fn'),
      f('FCOMIP Fn'),
      null,
    ),
  ),
};
