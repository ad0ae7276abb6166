/**
 * Images of x87 and SSE state for FXSAVE, XSAVE and their like: where they lie, and what is in
 * those that are loaded. Components that the emulated processor lacks are not asked for.
 */
import { type Needs, RAX, type Situation } from './preparation-parts.js';
import type { RandomSource } from './random.js';
import { extended } from './random-state.js';
import { DATA_SIZE, dataStart, type UserState } from './user-state.js';

const HEADER = 512;
/** The largest area: with the header of XSAVE, without components behind it. */
const AREA = 576;
/** Of MXCSR_MASK, which tells processors apart, in the image. */
const MASK = 28;
/** Components that neither processor has, as bits of XSTATE_BV. */
const ABSENT = [3, 4, 8, 10, 62];

export function movesImage(situation: Situation): Needs {
  const { form, random, state } = situation;
  const { mnemonic } = form.encoding.row;
  const extendedForm = mnemonic.startsWith('X');
  const step = extendedForm ? 64 : 16;
  const aligned = random.below(Math.floor((DATA_SIZE - AREA) / step)) * step;
  const misaligned = random.once(12);
  const offset = misaligned ? aligned + 1 + random.below(step - 1) : aligned;
  if (mnemonic.endsWith('RSTOR')) fillImage(random, state, offset);
  if (extendedForm) {
    fillHeader(random, state, offset + HEADER);
    state.setGpr(RAX, random.below(4));
  }
  const ignored = mnemonic.endsWith('RSTOR') ? {} : { ignored: offset + MASK };
  return { busy: [RAX], target: dataStart(form.bits) + offset, ...ignored };
}

function fillImage(random: RandomSource, state: UserState, at: number): void {
  state.setData(at, random.u32() & 0xffff, 2);
  state.setData(at + 2, random.u32() & 0xffff, 2);
  state.setData(at + 4, random.below(256), 2);
  state.setData(at + 6, random.below(0x800), 2);
  // Canonical, whatever the processor's addresses are.
  for (const place of [8, 16]) state.setData(at + place, random.u64() >> 17n, 8);
  const reserved = random.once(8) ? 1 << (random.once(2) ? 16 : 30) : 0;
  state.setData(at + 24, (random.u32() & 0xffff) | reserved, 4);
  for (let i = 0; i < 8; i++) state.data.set(extended(random), at + 32 + i * 16);
  for (let i = 160; i < 416; i += 8) state.setData(at + i, random.integer(), 8);
}

function fillHeader(random: RandomSource, state: UserState, at: number): void {
  for (let i = 0; i < 64; i += 8) state.setData(at + i, 0, 8);
  const absent = random.once(8) ? 1n << BigInt(random.pick(ABSENT)) : 0n;
  state.setData(at, BigInt(random.below(4)) | absent, 8);
  const format = random.once(6) ? random.below(4) : 3;
  if (random.once(3)) state.setData(at + 8, (1n << 63n) | BigInt(format), 8);
  else if (random.once(12)) state.setData(at + 8, 1, 1);
  if (random.once(8)) state.setData(at + 16 + random.below(48), 1, 1);
}
