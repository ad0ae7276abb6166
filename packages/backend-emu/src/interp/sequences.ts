/**
 * Sequences of instructions that the interpreter executes by one handler.
 *
 * Which: those that Linux's boot, system calls and page faults, and loops of integer arithmetic,
 * execute most often, counted. How: each is emitted from the descriptions of its instructions, one
 * after the other, so that nothing is said of any of them twice.
 */

const EQUAL = ['JZ', 'JNZ'];
const SIGNS = [...EQUAL, 'JS', 'JNS'];
const UNSIGNED = [...EQUAL, 'JB', 'JNB'];
const ORDERS = [...UNSIGNED, 'JBE', 'JNBE', 'JL', 'JNL', 'JLE', 'JNLE'];

/** Instructions that set flags for a branch, and the branches. */
const COMPARISONS: readonly (readonly [branches: readonly string[], forms: readonly string[]])[] = [
  [ORDERS, ['CMP.64 r64,r64', 'CMP.64 r64,i64', 'CMP.64 r64,i32']],
  [ORDERS, ['CMP.32 r32,r32', 'CMP.32 r32,i32']],
  [UNSIGNED, ['CMP.64 r64,m64', 'CMP.64 m64,r64', 'CMP.32 r32,m32', 'CMP.32 m32,r32']],
  [
    [...SIGNS, 'JLE', 'JNLE'],
    ['TEST.64 r64,r64', 'TEST.32 r32,r32'],
  ],
  [SIGNS, ['TEST.8 r8,r8', 'SUB.64 r64,i64', 'SUB.32 r32,i32']],
  [EQUAL, ['CMP.64 m64,i64', 'CMP.16 r16,i16', 'CMP.8 r8,i8', 'CMP.8 r8,m8', 'CMP.8 m8,i8']],
  [EQUAL, ['TEST.64 r64,i32', 'TEST.32 r32,i32', 'TEST.8 r8,i8', 'TEST.8 m8,i8']],
  [EQUAL, ['ADD.64 r64,i64', 'ADD.32 r32,i32', 'AND.32 r32,i32', 'AND.8 r8,i8']],
  [EQUAL, ['SUB.32 m32,i32', 'DEC.32 m32']],
];

/** The first instruction, and what follows it. */
const PAIRS: Readonly<Record<string, readonly string[]>> = {
  'POP.64 r64': ['POP.64 r64', 'RET.64', 'JMP.64 j64'],
  'ADD.64 r64,r64': ['CMP.64 r64,i64', 'CMP.64 r64,r64', 'SAR.64 r64,i8'],
  'MOV.8 m8,i8': ['ADD.64 r64,r64', 'ADD.64 r64,i64'],
  'PUSH.64 r64': [
    ...['PUSH.64 r64', 'MOV.64 r64,r64', 'XOR.32 r32,r32', 'MOV.64 r64,m64', 'MOV.32 r32,r32'],
    ...['PUSH.64 i64', 'JMP.64 j64', 'NOP.32 m32', 'CALL.64 j64', 'MOVSXD.64 r64,r32'],
  ],
  'XOR.64 r64,r64': ['MOV.64 r64,r64', 'AND.32 r32,i32'],
  'SHL.64 r64,i8': ['XOR.64 r64,r64', 'ADD.64 r64,r64', 'SAR.64 r64,i8'],
  'MOV.64 r64,r64': [
    ...['SHL.64 r64,i8', 'SHR.64 r64,i8', 'CALL.64 j64', 'MOV.64 r64,r64', 'PUSH.64 r64'],
    ...['MOV.64 r64,m64', 'LEA.64 r64,m8', 'SUB.64 r64,r64', 'NOP.32 m32', 'POP.64 r64'],
    ...['NOP.16', 'MOV.32 r32,r32', 'MOVZX.32 r32,m8', 'AND.64 r64,i32', 'AND.32 r32,i32'],
  ],
  'MOV.32 r32,r32': [
    ...['MOV.64 r64,r64', 'SHR.32 r32,i8', 'LEA.64 r64,m8', 'PUSH.64 r64', 'MOV.32 r32,r32'],
    ...['POP.64 r64', 'CALL.64 j64', 'AND.32 r32,i32', 'SUB.32 r32,r32'],
  ],
  'XOR.32 r32,m32': ['MOV.32 r32,r32'],
  'MOVZX.32 r32,r8': ['SHR.32 r32,i8'],
  'XOR.8 r8,m8': ['ADD.64 r64,i64'],
  'ADD.64 r64,i64': [
    ...['CMP.64 r64,i32', 'MOV.64 m64,r64', 'CMP.64 r64,r64', 'ADD.64 r64,i64', 'TEST.8 r8,r8'],
    ...['CMP.8 m8,i8', 'TEST.8 m8,i8', 'MOVZX.32 r32,m8', 'POP.64 r64'],
  ],
  'XOR.32 r32,r32': [
    ...['XOR.32 r32,r32', 'PUSH.64 r64', 'JMP.64 j64', 'POP.64 r64', 'CALL.64 j64', 'RET.64'],
  ],
  'MOV.64 r64,m64': [
    ...['MOV.64 r64,m64', 'ADD.64 r64,i64', 'LEA.64 r64,m8', 'MOV.32 r32,m32'],
    ...['MOV.64 m64,r64', 'TEST.64 r64,r64', 'CALL.64 j64', 'MOV.64 r64,r64', 'CMP.64 r64,r64'],
    ...['TEST.8 r8,i8', 'TEST.32 r32,i32', 'CMP.64 m64,r64', 'SHR.64 r64,i8', 'CMP.64 m64,i64'],
    ...['AND.32 m32,i32', 'AND.8 r8,i8', 'SUB.64 r64,m64', 'NOP.16'],
  ],
  'SHR.64 r64,i8': ['XOR.64 r64,r64', 'SAR.64 r64,i8', 'ADD.64 r64,r64', 'AND.32 r32,i32'],
  'MOVZX.32 r32,m8': ['ADD.64 r64,i64', 'LEA.64 r64,m8', 'JMP.64 j64'],
  'NOP.32 m32': [
    ...['MOV.64 r64,m64', 'PUSH.64 r64', 'RET.64', 'NOP.32 m32', 'MOV.64 r64,r64'],
    ...['CALL.64 j64'],
  ],
  'JZ.64 j64': [
    ...['CMP.8 m8,i8', 'MOV.64 r64,m64', 'PUSH.64 r64', 'ADD.64 r64,i64', 'CMP.8 r8,i8'],
    ...['MOV.64 r64,r64', 'MOV.32 r32,m32', 'MOVZX.32 r32,m8'],
  ],
  'AND.32 r32,i32': ['POP.64 r64', 'ADD.64 r64,i64', 'SUB.64 r64,r64'],
  'ADD.64 m64,r64': ['SUB.32 r32,i32'],
  'ADD.32 r32,i32': ['ADD.32 r32,i32', 'ADD.64 r64,i64'],
  'MOVSXD.64 r64,r32': ['ADD.64 r64,r64', 'MOVSXD.64 r64,m32', 'MOV.64 r64,m64', 'JMP.64 j64'],
  'MOV.64 m64,r64': [
    ...['MOVZX.32 r32,m16', 'MOV.64 m64,r64', 'MOV.64 r64,m64', 'MOV.64 r64,r64'],
    ...['LEA.64 r64,m8', 'JMP.64 j64'],
  ],
  'SUB.64 r64,i64': ['CALL.64 j64', 'ADD.64 r64,i64', 'MOV.64 r64,m64'],
  'LEA.64 r64,m8': [
    ...['POP.64 r64', 'MOV.64 m64,r64', 'CMP.32 r32,i32', 'MOV.64 r64,r64', 'LEA.64 r64,m8'],
    ...['JMP.64 j64', 'AND.64 r64,i64'],
  ],
  'MOV.32 r32,m32': [
    ...['SUB.64 r64,i64', 'ADD.64 r64,i64', 'MOV.32 r32,m32', 'TEST.32 r32,r32'],
    ...['ADD.32 r32,i32', 'MOV.64 r64,m64', 'JMP.64 j64', 'ROR.32 r32,i8', 'XOR.32 r32,r32'],
    ...['SHL.64 r64,i8'],
  ],
  'JNZ.64 j64': ['MOV.64 r64,m64', 'MOV.32 r32,m32', 'JMP.64 j64', 'CMP.64 m64,i64', 'RET.64'],
  'JB.64 j64': ['MOV.64 r64,m64'],
  'MOV.32 m32,r32': ['JMP.64 j64', 'RET.64'],
  'SUB.64 r64,r64': ['ADD.64 r64,r64', 'MOV.64 r64,r64'],
  'MOV.16 m16,r16': ['JMP.64 j64'],
  'MOV.32 r32,i32': ['RET.64', 'XOR.32 r32,r32', 'MOV.32 r32,r32', 'MOV.64 r64,m64'],
  'NOP.16': ['MOV.64 r64,m64', 'RET.64', 'CALL.64 j64', 'NOP.16'],
  'PUSH.64 m64': ['PUSH.64 m64'],
  'MOVSXD.64 r64,m32': ['ADD.64 r64,r64'],
  'PUSH.64 i64': ['PUSH.64 r64', 'PUSH.64 m64'],
  'ADD.64 r64,m64': ['CMP.64 r64,r64'],
  'NOT.64 r64': ['ADD.64 r64,m64'],
  'MOV.8 m8,r8': ['SUB.64 r64,i64'],
  'CMOVB.64 r64,r64': ['CMOVNB.64 r64,r64'],
  'LEAVE.64': ['RET.64'],
  'MOVSX.32 r32,r8': ['SUB.32 r32,i32'],
  'CMP.64 r64,i32': ['SBB.64 r64,r64'],
  'AND.32 r32,r32': ['CALL.64 j64'],
};

/** Mixing of bits, as in hashes and random numbers: x ^= x << n. */
const MIXES = [
  ['MOV.64 r64,r64', 'SHL.64 r64,i8', 'XOR.64 r64,r64'],
  ['MOV.64 r64,r64', 'SHR.64 r64,i8', 'XOR.64 r64,r64'],
  ['MOV.32 r32,r32', 'SHL.32 r32,i8', 'XOR.32 r32,r32'],
  ['MOV.32 r32,r32', 'SHR.32 r32,i8', 'XOR.32 r32,r32'],
];

/** What is worth a handler for each of the usual kinds of addresses, alone as well. */
const ADDRESSED = [
  ...['MOV.64 r64,m64', 'MOV.64 m64,r64', 'MOV.32 r32,m32', 'MOV.32 m32,r32', 'LEA.64 r64,m8'],
  ...['MOVZX.32 r32,m8', 'MOVZX.32 r32,m16', 'ADD.64 r64,m64', 'ADD.64 m64,r64'],
];

/** Every sequence, as keys of forms. */
export function sequences(): string[][] {
  const comparisons = COMPARISONS.flatMap(([branches, forms]) =>
    forms.flatMap((form) => branches.map((name) => [form, `${name}.64 j64`])),
  );
  const pairs = Object.entries(PAIRS).flatMap(([first, all]) => all.map((next) => [first, next]));
  return [...comparisons, ...pairs, ...MIXES, ...ADDRESSED.map((form) => [form])];
}
