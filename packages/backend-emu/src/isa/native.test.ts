/**
 * Integer instructions against the host's own processor: random operands and flags through every
 * form of the table that a user program may execute, in 64-bit mode.
 *
 * Flags that the manuals leave undefined are masked (AMD APM vol. 3, appendix F is the source of
 * the list). The seed is printed; CLOISTER_SEED repeats a run.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Case,
  CODE_BASE,
  DATA_BASE,
  DATA_SIZE,
  NativeOracle,
  type Outcome,
  oracleProblem,
  type UserState,
} from '../../../../tools/native-oracle/oracle.js';
import * as L from '../cpu/layout.js';
import { testMachine } from '../interp/test-machine.js';
import { OPCODE_MAPS } from './table/index.js';
import type { Entry, Row } from './table/row.js';

const CF = 1;
const PF = 4;
const AF = 0x10;
const ZF = 0x40;
const SF = 0x80;
const OF = 0x800;
const STATUS = CF | PF | AF | ZF | SF | OF;
const DF = 0x400;

/** Not for user programs, or with effects outside registers and memory. */
const SYSTEM =
  /^(IN|OUT|INS|OUTS|INT.*|ICEBP|HLT|CLI|STI|SYS.*|UD|.*MSR|CPUID|RD.*|XGETBV|XSETBV|SWAPGS|L?[GI]DT|S[GI]DT|[SL]LDT|STR|LTR|[SL]MSW|VER[RW]|LAR|LSL|MOV(TO|FROM).*|INVLPG|INVD|WBINVD|CLTS|VMMCALL|MONITOR|MWAIT|FX.*|RETF.*|IRET|JMPF.*|CALLF.*|LOADFAR|POPSEG|PUSHSEG|POPF|JMPI|CALLI|RET|RETI|ENTER|CALL|JMP|LEAVE|WAIT|PREFETCH|CLFLUSH|[LS]?FENCE|MFENCE|XSAVE.*|XRSTOR.*|LDMXCSR|STMXCSR|ENDBR|WR.*BASE)$/;

/** Undefined status flags, by mnemonic. */
const UNDEFINED: Readonly<Record<string, number>> = {
  AND: AF, OR: AF, XOR: AF, TEST: AF,
  MUL: SF | ZF | AF | PF, IMUL1: SF | ZF | AF | PF, IMUL2: SF | ZF | AF | PF,
  IMUL3: SF | ZF | AF | PF, DIV: STATUS, IDIV: STATUS,
  BSF: STATUS & ~ZF, BSR: STATUS & ~ZF,
  BT: STATUS & ~(CF | ZF), BTS: STATUS & ~(CF | ZF), BTR: STATUS & ~(CF | ZF),
  BTC: STATUS & ~(CF | ZF),
  SHL: AF | OF, SHR: AF | OF, SAR: AF | OF, SHLD: AF | OF, SHRD: AF | OF,
  ROL: OF, ROR: OF, RCL: OF, RCR: OF,
  TZCNT: OF | SF | AF | PF, LZCNT: OF | SF | AF | PF,
}; // biome-ignore format: table

/** A small generator, so that a seed repeats a run. */
function generator(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

interface Encoding {
  readonly row: Row;
  readonly opcode: readonly number[];
  /** ModRM.reg where an opcode group fixes it, else -1. */
  readonly reg: number;
  readonly mod: 'memory' | 'register' | 'any';
  readonly prefix: number;
}

function encodings(entry: Entry, opcode: readonly number[], fixed: Partial<Encoding>): Encoding[] {
  if (entry === null) return [];
  if ('mnemonic' in entry) {
    return [{ reg: -1, mod: 'any', prefix: 0, ...fixed, row: entry, opcode }];
  }
  switch (entry.by) {
    case 'reg':
      return entry.entries.flatMap((each, reg) => encodings(each, opcode, { ...fixed, reg }));
    case 'mod':
      return [
        ...encodings(entry.memory, opcode, { ...fixed, mod: 'memory' }),
        ...encodings(entry.register, opcode, { ...fixed, mod: 'register' }),
      ];
    case 'prefix':
      return [0, 0x66, 0xf3, 0xf2].flatMap((prefix, i) =>
        prefix === 0x66 ? [] : encodings(entry.entries[i], opcode, { ...fixed, prefix }),
      );
    case 'mode':
      return encodings(entry.long, opcode, fixed);
    default:
      return [];
  }
}

function integerEncodings(): Encoding[] {
  const { primary, secondary } = OPCODE_MAPS;
  const all = [
    ...primary.flatMap((entry, i) => encodings(entry, [i], {})),
    ...secondary.flatMap((entry, i) => encodings(entry, [0x0f, i], {})),
  ];
  const vector = /^[VWUPQNF]/;
  return all.filter(
    ({ row }) =>
      !SYSTEM.test(row.mnemonic) &&
      !row.flags.has('i64') &&
      !row.operands.some((code) => vector.test(code) || (/^[SCDOA]/.test(code) && code !== 'DX')),
  );
}

const INTERESTING = [0n, 1n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0x7fffffffn, 0x80000000n,
  0xffffffffn, 0x7fffffffffffffffn, 0x8000000000000000n, 0xffffffffffffffffn]; // biome-ignore format: table

function randomState(next: () => number): UserState {
  const wide = (): bigint => {
    const pick = next() % 4;
    if (pick === 0) return INTERESTING[next() % INTERESTING.length];
    const value = (BigInt(next()) << 32n) | BigInt(next());
    return pick === 1 ? value >> BigInt(next() % 64) : value;
  };
  const gpr = new BigUint64Array(16).map(() => wide());
  gpr[3] = BigInt(DATA_BASE + 128);
  gpr[4] = BigInt(DATA_BASE + 128);
  gpr[6] = BigInt(DATA_BASE + 32 + (next() % 64));
  gpr[7] = BigInt(DATA_BASE + 128 + (next() % 64));
  const rflags = BigInt((next() & (STATUS | (next() & 1 ? DF : 0))) | 0x202);
  const data = new Uint8Array(DATA_SIZE).map(() => next() & 0xff);
  const xmm = new Uint8Array(256).map(() => next() & 0xff);
  return { gpr, rflags, rip: BigInt(CODE_BASE), xmm, mxcsr: 0x1f80, data };
}

/** An instruction of the encoding with random operands; memory stays in the data area. */
function randomCase(encoding: Encoding, next: () => number): Case {
  const { row, opcode, reg, mod, prefix } = encoding;
  const state = randomState(next);
  const code: number[] = [];
  const size = next() % 3;
  const string = row.flags.has('rep');
  if (string) state.gpr[1] = BigInt(next() % 8);
  if (size === 0 && prefix === 0) code.push(0x66);
  if (prefix !== 0) code.push(prefix);
  else if (string && next() % 2 === 0) code.push(next() % 2 === 0 ? 0xf3 : 0xf2);
  const memory = mod === 'memory' || (mod === 'any' && next() % 2 === 0);
  const rexLow = next() & (memory ? 4 : 5);
  if (size === 2 || next() % 3 === 0) code.push(0x40 | (size === 2 ? 8 : 0) | rexLow);
  code.push(...opcode);
  const modrm = row.operands.some((text) => /^[EGMR]/.test(text)) || reg >= 0;
  if (modrm) {
    const field = reg >= 0 ? reg : next() & 7;
    if (memory) {
      code.push(0x43 | (field << 3), next() & 0x3f);
      // Bit offsets in registers reach outside the operand: keep them in the data area.
      if (/^BT/.test(row.mnemonic))
        for (const i of [0, 1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15]) state.gpr[i] &= 0xffn;
    } else {
      code.push(0xc0 | (field << 3) | (next() & 7));
    }
  }
  const rexW = code.some((byte, i) => i < 4 && (byte & 0xf8) === 0x48 && !opcode.includes(byte));
  const operandSize = rexW ? 64 : code[0] === 0x66 ? 16 : 32;
  for (const text of row.operands) {
    const bytes = immediateBytes(text, operandSize);
    const jump = text[0] === 'J';
    for (let i = 0; i < bytes; i++) code.push(jump ? 0 : next() & 0xff);
  }
  return { code: new Uint8Array(code), state };
}

function immediateBytes(text: string, operandSize: number): number {
  if (text === 'Jz') return 4;
  switch (text) {
    case 'Ib':
    case 'Is':
    case 'Jb':
      return 1;
    case 'Iw':
      return 2;
    case 'Iz':
      return Math.min(operandSize, 32) / 8;
    case 'Iv':
      return operandSize / 8;
    default:
      return 0;
  }
}

const machine = testMachine();

/** Runs the case on the emulated processor, to the end of the code. */
function emulate({ code, state }: Case): Outcome {
  const { record, physical, interpreter } = machine;
  state.gpr.forEach((value, i) => record.view.setBigUint64(L.gprOffset(i), value, true));
  record.setEflags(Number(state.rflags));
  record.bytes.set(state.xmm, L.XMM);
  record.setI32(L.MXCSR, state.mxcsr);
  record.setI32(L.FAULT_VECTOR, -1);
  physical.bytes.set(state.data, DATA_BASE);
  const end = CODE_BASE + code.length;
  machine.load(CODE_BASE, [...code, 0xf4]);
  let done = 'deadline';
  for (let i = 0; i < 100 && done === 'deadline'; i++) {
    if (record.lo(L.RIP) === end) break;
    done = interpreter.run(1);
  }
  const gpr = new BigUint64Array(16).map((_, i) => record.view.getBigUint64(L.gprOffset(i), true));
  const vector = done === 'fault' ? record.i32(L.FAULT_VECTOR) : 0;
  return {
    signal: done === 'fault' ? 1 : 0,
    vector,
    state: {
      gpr,
      rflags: BigInt(record.eflags() >>> 0),
      rip: BigInt(record.lo(L.RIP)),
      xmm: new Uint8Array(record.bytes.subarray(L.XMM, L.XMM + 256)),
      mxcsr: record.i32(L.MXCSR),
      data: new Uint8Array(physical.bytes.subarray(DATA_BASE, DATA_BASE + DATA_SIZE)),
    },
  };
}

/** What of a state is compared, as text that shows a difference. */
function shown({ signal, vector, state }: Outcome, mask: number): string {
  const gpr = [...state.gpr].map((value, i) => `r${i}=${value.toString(16)}`).join(' ');
  const flags = (Number(state.rflags) & mask).toString(16);
  const data = Buffer.from(state.data).toString('hex');
  const fault = signal === 0 ? '' : `vector ${vector} at ${state.rip.toString(16)} `;
  return `${fault}${gpr} flags=${flags} data=${data}`;
}

const problem = oracleProblem();
const seed = Number(process.env.CLOISTER_SEED ?? Date.now() % 2 ** 31);
const EACH = Number(process.env.CLOISTER_CASES ?? 40);

describe.skipIf(problem !== null)(
  `integer instructions natively (seed ${seed}) ${problem ?? ''}`,
  () => {
    let oracle: NativeOracle;
    beforeAll(() => {
      oracle = new NativeOracle();
    });
    afterAll(() => oracle.dispose());

    for (const encoding of integerEncodings()) {
      const { row, opcode, reg } = encoding;
      const hex = opcode.map((byte) => byte.toString(16)).join(' ');
      it(`${row.mnemonic} ${row.operands.join(',')} (${hex}${reg < 0 ? '' : ` /${reg}`})`, () => {
        const next = generator(seed ^ ((opcode.at(-1) as number) * 2654435761) ^ (reg * 97));
        const cases = Array.from({ length: EACH }, () => randomCase(encoding, next));
        const expected = oracle.run(cases);
        cases.forEach((each, i) => {
          const fault = expected[i].signal !== 0;
          const mask = fault ? 0 : (STATUS & ~(UNDEFINED[row.mnemonic] ?? 0)) | DF;
          const label = Buffer.from(each.code).toString('hex');
          expect(`${label}: ${shown(emulate(each), mask)}`).toBe(
            `${label}: ${shown(expected[i], mask)}`,
          );
        });
      });
    }
  },
);
