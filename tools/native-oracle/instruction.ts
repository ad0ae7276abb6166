/**
 * Puts an instruction's bytes together. AMD APM vol. 3, 1.1 (order of the parts).
 */
import { CODE_AT, CODE_PAGE } from './user-state.js';

/** What a VEX prefix says beside the bits of REX. AMD APM vol. 3, 1.7. */
export interface Vex {
  readonly map: number;
  /** The mandatory prefix that it stands for. */
  readonly prefix: number;
  /** VEX.vvvv, not inverted. */
  register: number;
  /** VEX.L. */
  length: 0 | 1;
}

export interface Instruction {
  /** Prefixes in front of REX, in any order that is wanted. */
  readonly prefixes: number[];
  /** 40 to 4F; 0: none. Behind a VEX prefix its bits. */
  rex: number;
  vex: Vex | null;
  opcode: readonly number[];
  /** ModRM, SIB and displacement. */
  modrm: number[];
  /** Immediates, targets and offsets. */
  tail: number[];
  /** Absolute address that a RIP-relative displacement is to reach. */
  ripTarget: bigint | null;
}

export const REX = { w: 8, r: 4, x: 2, b: 1 } as const;

export function newInstruction(opcode: readonly number[]): Instruction {
  return { prefixes: [], rex: 0, vex: null, opcode, modrm: [], tail: [], ripTarget: null };
}

export function setRex(instruction: Instruction, bits: number): void {
  instruction.rex |= 0x40 | bits;
}

/** `value` as `count` little-endian bytes. */
export function littleEndian(value: bigint | number, count: number): number[] {
  const wide = BigInt.asUintN(64, BigInt(value));
  return Array.from({ length: count }, (_, i) => Number((wide >> BigInt(8 * i)) & 0xffn));
}

const VEX_PREFIXES = [0, 0x66, 0xf3, 0xf2];

/** REX or VEX. */
function extension({ rex, vex }: Instruction): number[] {
  if (vex === null) return rex === 0 ? [] : [rex];
  const inverted = ((rex & 7) ^ 7) << 5;
  const register = (vex.register ^ 15) << 3;
  const prefix = VEX_PREFIXES.indexOf(vex.prefix);
  return [0xc4, inverted | vex.map, ((rex & 8) << 4) | register | (vex.length << 2) | prefix];
}

export function assemble(instruction: Instruction): Uint8Array {
  const { prefixes, opcode, modrm, tail, ripTarget } = instruction;
  const rexBytes = extension(instruction);
  if (ripTarget !== null) {
    const length = prefixes.length + rexBytes.length + opcode.length + 5 + tail.length;
    const displacement = ripTarget - BigInt(CODE_PAGE + CODE_AT + length);
    modrm.splice(1, 4, ...littleEndian(displacement, 4));
  }
  return new Uint8Array([...prefixes, ...rexBytes, ...opcode, ...modrm, ...tail]);
}
