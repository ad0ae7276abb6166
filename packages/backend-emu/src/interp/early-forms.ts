/**
 * The forms that the interpreter has cases for where code that is executed often is translated:
 * what is left to it is code before it is hot, and that is spread over few forms. Others are
 * functions behind the table, and there are no sequences.
 *
 * Which: 99 % of what is interpreted in a boot of Debian's cloud kernel, counted. Each case more
 * costs a millisecond of compiling at the beginning of every run.
 */

const FORMS: Readonly<Record<string, readonly string[]>> = {
  MOV: [
    ...['64 r64,r64', '64 r64,m64', '64 m64,r64', '64 r64,i32', '64 m64,i32', '32 r32,r32'],
    ...['32 r32,m32', '32 m32,r32', '32 r32,i32', '32 m32,i32', '16 m16,r16', '8 m8,i8'],
    ...['8 m8,r8', '8 r8,m8', '8 r8,r8'],
  ],
  MOVABS: ['64 r64,i64'],
  MOVZX: ['32 r32,m8', '32 r32,r8', '32 r32,m16', '32 r32,r16'],
  MOVSXD: ['64 r64,r32', '64 r64,m32'],
  LEA: ['64 r64,m8', '32 r32,m8'],
  PUSH: ['64 r64', '64 i32'],
  POP: ['64 r64'],
  PUSHF: ['64'],
  CALL: ['64 j64'],
  CALLI: ['64 r64', '64 m64'],
  RET: ['64'],
  JMP: ['64 j64'],
  JZ: ['64 j64'],
  JNZ: ['64 j64'],
  JB: ['64 j64'],
  JNB: ['64 j64'],
  JBE: ['64 j64'],
  JNBE: ['64 j64'],
  JS: ['64 j64'],
  JNS: ['64 j64'],
  JL: ['64 j64'],
  JLE: ['64 j64'],
  JNLE: ['64 j64'],
  NOP: ['32 m32', '16', '32'],
  PAUSE: ['32'],
  CLI: ['32'],
  STI: ['32'],
  ADD: [
    ...['64 r64,r64', '64 r64,i64', '64 r64,i32', '64 r64,m64', '64 m64,r64', '64 m64,i64'],
    ...['32 r32,r32', '32 r32,i32', '32 r32,m32', '32 m32,i32'],
  ],
  ADC: ['64 r64,r64', '64 r64,i64'],
  SUB: [
    ...['64 r64,r64', '64 r64,i64', '64 r64,i32', '64 r64,m64'],
    ...['32 r32,r32', '32 r32,i32', '32 m32,i32'],
  ],
  SBB: ['32 r32,r32'],
  CMP: [
    ...['64 r64,r64', '64 r64,i64', '64 r64,i32', '64 r64,m64', '64 m64,r64', '64 m64,i64'],
    ...['32 r32,r32', '32 r32,i32', '32 r32,m32', '32 m32,r32', '32 m32,i32', '16 r16,i16'],
    ...['8 r8,r8', '8 r8,i8', '8 r8,m8', '8 m8,i8'],
  ],
  TEST: [
    ...['64 r64,r64', '64 r64,i32', '32 r32,r32', '32 r32,i32', '32 m32,i32'],
    ...['8 r8,r8', '8 r8,i8', '8 m8,i8'],
  ],
  AND: ['64 r64,r64', '64 r64,i64', '64 r64,i32', '32 r32,r32', '32 r32,i32'],
  OR: ['64 r64,r64', '64 r64,m64', '32 r32,r32', '32 r32,i32'],
  XOR: ['64 r64,r64', '32 r32,r32', '32 r32,m32'],
  NOT: ['64 r64'],
  NEG: ['32 r32'],
  INC: ['32 r32', '32 m32'],
  DEC: ['32 m32'],
  IMUL2: ['64 r64,r64'],
  SHL: ['64 r64,i8', '64 r64,r8', '32 r32,i8', '32 r32,r8'],
  SHR: ['64 r64,i8', '64 r64,r8', '32 r32,i8'],
  SAR: ['64 r64,i8', '32 r32,i8'],
  ROL: ['32 r32,i8'],
  ROR: ['32 r32,i8'],
  CMOVZ: ['64 r64,r64'],
  CMOVB: ['64 r64,r64'],
  CMOVNB: ['64 r64,r64'],
  CMPXCHG: ['64 m64,r64', '32 m32,r32'],
};

/** Their keys. */
export function earlyForms(): Set<string> {
  const keys = Object.entries(FORMS).flatMap(([name, forms]) =>
    forms.map((form) => `${name}.${form}`),
  );
  return new Set(keys);
}
