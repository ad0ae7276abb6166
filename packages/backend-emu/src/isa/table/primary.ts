/**
 * The one-byte opcode map. AMD APM vol. 3, appendix A, tables, and table A-6 (ModRM.reg
 * groups 1 to 5, 11).
 */
import { CONDITIONS } from '../define.js';
import { byMode, byReg, type Entry, repeat, row } from './row.js';

/** The six forms of an arithmetic instruction. */
function arithmetic(name: string): Entry[] {
  return [
    row(`${name} Eb,Gb`, 'byte'),
    row(`${name} Ev,Gv`),
    row(`${name} Gb,Eb`, 'byte'),
    row(`${name} Gv,Ev`),
    row(`${name} AL,Ib`, 'byte'),
    row(`${name} rAX,Iz`),
  ];
}

function pushPop(segment: string): Entry[] {
  return [row(`PUSHSEG ${segment}`, 'i64'), row(`POPSEG ${segment}`, 'i64')];
}

const ARITHMETIC = ['ADD', 'OR', 'ADC', 'SBB', 'AND', 'SUB', 'XOR', 'CMP'];
const group1 = (operands: string, flags = ''): Entry =>
  byReg(...ARITHMETIC.map((name) => row(`${name} ${operands}`, flags)));

const SHIFTS = ['ROL', 'ROR', 'RCL', 'RCR', 'SHL', 'SHR', 'SHL', 'SAR'];
const group2 = (operands: string, flags = ''): Entry =>
  byReg(...SHIFTS.map((name) => row(`${name} ${operands}`, flags)));

const group3 = (operand: string, immediate: string, flags = ''): Entry =>
  byReg(
    row(`TEST ${operand},${immediate}`, flags),
    row(`TEST ${operand},${immediate}`, flags),
    row(`NOT ${operand}`, flags),
    row(`NEG ${operand}`, flags),
    row(`MUL ${operand}`, flags),
    row(`IMUL1 ${operand}`, flags),
    row(`DIV ${operand}`, flags),
    row(`IDIV ${operand}`, flags),
  );

const group4 = byReg(row('INC Eb', 'byte'), row('DEC Eb', 'byte'), ...repeat(6, () => null));

const group5 = byReg(
  row('INC Ev'),
  row('DEC Ev'),
  row('CALLI Ev', 'd64'),
  row('CALLFI Mp'),
  row('JMPI Ev', 'd64'),
  row('JMPFI Mp'),
  row('PUSH Ev', 'd64'),
  null,
);

const group1a = byReg(row('POP Ev', 'd64'), ...repeat(7, () => null));
const group11 = (operands: string, flags = ''): Entry =>
  byReg(row(`MOV ${operands}`, flags), ...repeat(7, () => null));

/** Prefixes and opcodes that lead elsewhere are null here; the decoder knows them. */
export const PRIMARY: readonly Entry[] = [
  // 00
  ...arithmetic('ADD'),
  ...pushPop('es'),
  ...arithmetic('OR'),
  row('PUSHSEG cs', 'i64'),
  null,
  // 10
  ...arithmetic('ADC'),
  ...pushPop('ss'),
  ...arithmetic('SBB'),
  ...pushPop('ds'),
  // 20
  ...arithmetic('AND'),
  null,
  row('DAA', 'i64'),
  ...arithmetic('SUB'),
  null,
  row('DAS', 'i64'),
  // 30
  ...arithmetic('XOR'),
  null,
  row('AAA', 'i64'),
  ...arithmetic('CMP'),
  null,
  row('AAS', 'i64'),
  // 40: REX prefixes in 64-bit mode
  ...repeat(8, () => row('INC Zv', 'i64')),
  ...repeat(8, () => row('DEC Zv', 'i64')),
  // 50
  ...repeat(8, () => row('PUSH Zv', 'd64')),
  ...repeat(8, () => row('POP Zv', 'd64')),
  // 60
  row('PUSHA', 'i64'),
  row('POPA', 'i64'),
  row('BOUND Gv,Mp', 'i64'),
  byMode(row('ARPL Ew,Gw', 'prot'), row('MOVSXD Gv,Ed')),
  null,
  null,
  null,
  null,
  row('PUSH Iz', 'd64'),
  row('IMUL3 Gv,Ev,Iz'),
  row('PUSH Is', 'd64'),
  row('IMUL3 Gv,Ev,Is'),
  row('INS', 'byte rep addr'),
  row('INS', 'rep addr z'),
  row('OUTS', 'byte rep addr'),
  row('OUTS', 'rep addr z'),
  // 70
  ...CONDITIONS.map((name) => row(`J${name} Jb`, 'd64')),
  // 80
  group1('Eb,Ib', 'byte'),
  group1('Ev,Iz'),
  byMode(group1('Eb,Ib', 'byte'), null),
  group1('Ev,Is'),
  row('TEST Eb,Gb', 'byte'),
  row('TEST Ev,Gv'),
  row('XCHG Eb,Gb', 'byte'),
  row('XCHG Ev,Gv'),
  row('MOV Eb,Gb', 'byte'),
  row('MOV Ev,Gv'),
  row('MOV Gb,Eb', 'byte'),
  row('MOV Gv,Ev'),
  row('MOVFROMSEG EvMw,Sw'),
  row('LEA Gv,Mp'),
  row('MOVTOSEG Sw,Ew'),
  group1a,
  // 90: 90 itself is PAUSE after F3, else NOP unless REX.B makes it XCHG r8, rAX
  ...repeat(8, () => row('XCHG Zv,rAX')),
  row('CBW'),
  row('CWD'),
  row('CALLF Ap', 'i64'),
  row('WAIT'),
  row('PUSHF', 'd64'),
  row('POPF', 'd64'),
  row('SAHF'),
  row('LAHF'),
  // A0
  row('MOV AL,Ob', 'byte'),
  row('MOV rAX,Ov'),
  row('MOV Ob,AL', 'byte'),
  row('MOV Ov,rAX'),
  row('MOVS', 'byte rep addr'),
  row('MOVS', 'rep addr'),
  row('CMPS', 'byte rep addr'),
  row('CMPS', 'rep addr'),
  row('TEST AL,Ib', 'byte'),
  row('TEST rAX,Iz'),
  row('STOS', 'byte rep addr'),
  row('STOS', 'rep addr'),
  row('LODS', 'byte rep addr'),
  row('LODS', 'rep addr'),
  row('SCAS', 'byte rep addr'),
  row('SCAS', 'rep addr'),
  // B0
  ...repeat(8, () => row('MOV Zb,Ib', 'byte')),
  ...repeat(8, () => row('MOV Zv,Iv')),
  // C0
  group2('Eb,Ib', 'byte'),
  group2('Ev,Ib'),
  row('RETI Iw', 'd64'),
  row('RET', 'd64'),
  byMode(row('LOADFAR Gv,Mp,es', 'z'), null),
  byMode(row('LOADFAR Gv,Mp,ds', 'z'), null),
  group11('Eb,Ib', 'byte'),
  group11('Ev,Iz'),
  row('ENTER Ie', 'd64'),
  row('LEAVE', 'd64'),
  row('RETFI Iw'),
  row('RETF'),
  row('INT3'),
  row('INT Ib'),
  row('INTO', 'i64'),
  row('IRET'),
  // D0
  group2('Eb,1', 'byte'),
  group2('Ev,1'),
  group2('Eb,CL', 'byte'),
  group2('Ev,CL'),
  row('AAM Ib', 'i64'),
  row('AAD Ib', 'i64'),
  row('SALC', 'i64'),
  row('XLAT', 'byte addr'),
  ...repeat(8, () => null),
  // E0
  row('LOOPNZ Jb', 'd64 addr'),
  row('LOOPZ Jb', 'd64 addr'),
  row('LOOP Jb', 'd64 addr'),
  row('JCXZ Jb', 'd64 addr'),
  row('IN AL,Ib', 'byte'),
  row('IN eAX,Ib', 'z'),
  row('OUT Ib,AL', 'byte'),
  row('OUT Ib,eAX', 'z'),
  row('CALL Jz', 'd64'),
  row('JMP Jz', 'd64'),
  row('JMPF Ap', 'i64'),
  row('JMP Jb', 'd64'),
  row('IN AL,DX', 'byte'),
  row('IN eAX,DX', 'z'),
  row('OUT DX,AL', 'byte'),
  row('OUT DX,eAX', 'z'),
  // F0
  null,
  row('ICEBP'),
  null,
  null,
  row('HLT'),
  row('CMC'),
  group3('Eb', 'Ib', 'byte'),
  group3('Ev', 'Iz'),
  row('CLC'),
  row('STC'),
  row('CLI'),
  row('STI'),
  row('CLD'),
  row('STD'),
  group4,
  group5,
];
