/**
 * How instructions are written, by name: what an emitter asks for each of them.
 */
import type { ValueType } from './encode.js';
import {
  LANE_OPCODES,
  MEMORY_OPCODES,
  OPCODES,
  SIMD_MEMORY_OPCODES,
  SIMD_OPCODES,
} from './opcodes.js';

export interface Instruction {
  /** Behind the prefix of vectors. */
  readonly simd: boolean;
  readonly number: number;
  /** Type of the result; of a store, that of nothing in particular. */
  readonly result: ValueType;
  /** On integers: the operands may change places. */
  readonly commutes: boolean;
}

const COMMUTES = /^i(32|64)\.(add|mul|and|or|xor|eq|ne)$/;

type Opcodes = ReadonlyMap<string, number>;

/** Instructions of two tables, with the result by name. */
function instructions(
  plain: Opcodes,
  simd: Opcodes,
  resultType: (name: string) => ValueType,
): ReadonlyMap<string, Instruction> {
  const all = new Map<string, Instruction>();
  for (const [table, prefixed] of [
    [plain, false],
    [simd, true],
  ] as const) {
    for (const [name, number] of table) {
      const commutes = COMMUTES.test(name);
      all.set(name, { simd: prefixed, number, result: resultType(name), commutes });
    }
  }
  return all;
}

/** Type of the result. */
function numericResult(name: string): ValueType {
  const [lane, operation] = name.split('.');
  if (lane.includes('x') || lane === 'v128') {
    return /any_true|all_true|bitmask/.test(operation) ? 'i32' : 'v128';
  }
  if (/^(eqz|eq|ne|lt|gt|le|ge)(_[su])?$/.test(operation)) return 'i32';
  return lane as ValueType;
}

function laneResult(name: string): ValueType {
  if (name.includes('replace')) return 'v128';
  const [shape] = name.split('x');
  return shape === 'i8' || shape === 'i16' ? 'i32' : (shape as ValueType);
}

const memoryResult = (name: string): ValueType => name.split('.')[0] as ValueType;

const NUMERIC = instructions(OPCODES, SIMD_OPCODES, numericResult);
const MEMORY = instructions(MEMORY_OPCODES, SIMD_MEMORY_OPCODES, memoryResult);
const LANE = instructions(new Map(), LANE_OPCODES, laneResult);

function find(table: ReadonlyMap<string, Instruction>, name: string): Instruction {
  const instruction = table.get(name);
  if (instruction === undefined) throw new Error(`unknown instruction ${name}`);
  return instruction;
}

/** A numeric instruction without immediates. */
export function numericInstruction(name: string): Instruction {
  return find(NUMERIC, name);
}

/** A load or store. */
export function memoryInstruction(name: string): Instruction {
  return find(MEMORY, name);
}

/** An access to a lane of a vector. */
export function laneInstruction(name: string): Instruction {
  return find(LANE, name);
}
