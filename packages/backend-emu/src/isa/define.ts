/**
 * The register of instruction descriptions: mnemonic to semantics.
 */
import type { Emitter } from './emitter.js';

export interface SemanticOptions {
  /** How operand 0 is used: `rw` (default), `w` (only written), `r` (only read). */
  readonly access?: 'r' | 'w' | 'rw';
  /** LOCK is allowed: operand 0 is read once, computed with purely, written once, flags after. */
  readonly lockable?: boolean;
  /** The instruction ends a block: nothing is decoded behind it. */
  readonly ends?: boolean;
  /** Differs outside 64-bit mode (stack, branch width): gets a handler of its own there. */
  readonly modal?: boolean;
  /** Worth a case in the interpreter's switch. */
  readonly hot?: boolean;
  /** Its address computation only names an address (LEA, INVLPG): no access rights are asked. */
  readonly string?: boolean;
}

export interface Description extends SemanticOptions {
  readonly mnemonic: string;
  readonly emit: (x: Emitter) => void;
}

const descriptions = new Map<string, Description>();

/** Describes one instruction, or several that differ only in a parameter of the closure. */
export function define(
  mnemonic: string,
  options: SemanticOptions,
  emit: (x: Emitter) => void,
): void {
  if (descriptions.has(mnemonic)) throw new Error(`${mnemonic} is described twice`);
  descriptions.set(mnemonic, { mnemonic, ...options, emit });
}

/** The description of `mnemonic`, or undefined: then the instruction is not implemented. */
export function describe(mnemonic: string): Description | undefined {
  return descriptions.get(mnemonic);
}

export function describedMnemonics(): readonly string[] {
  return [...descriptions.keys()];
}

/** Condition codes by the suffixes that the manuals use first. */
export const CONDITIONS = [
  'O',
  'NO',
  'B',
  'NB',
  'Z',
  'NZ',
  'BE',
  'NBE',
  'S',
  'NS',
  'P',
  'NP',
  'L',
  'NL',
  'LE',
  'NLE',
] as const;
