/**
 * Sequences of instructions as bytes, to be emitted as they are.
 */
import { ByteWriter } from './encode.js';
import { numericInstruction } from './instructions.js';

/** Plain instructions by name; a type with the number behind it is a constant. */
export function stackCode(...steps: readonly (string | number)[]): Uint8Array {
  const writer = new ByteWriter(64);
  for (const step of steps) {
    if (step === 'i32' || step === 'i64') writer.u8(step === 'i32' ? 0x41 : 0x42);
    else if (typeof step === 'number') writer.s32(step);
    else writer.u8(numericInstruction(step).number);
  }
  return writer.take();
}
