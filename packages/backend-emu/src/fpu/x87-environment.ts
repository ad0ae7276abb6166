/**
 * The x87 environment and state as FNSTENV, FLDENV, FNSAVE and FRSTOR have them in memory: four
 * formats, by operand size and mode. The image lies in the record's temporaries; descriptions move
 * it to and from memory.
 *
 * Source: AMD APM vol. 2, section 11.4.3 (figures 11-4 to 11-7).
 */
import * as L from '../cpu/layout.js';
import type { Outcome } from '../system/outcome.js';
import { X87 } from './x87-state.js';

/** Where the image lies. */
export const ENVIRONMENT = L.TEMP;
const CR0_PE = 1;
const VM = 1 << 17;

/** Bytes of the environment alone. */
export function environmentSize(wide: boolean): number {
  return wide ? 28 : 14;
}

function isProtected(view: DataView): boolean {
  return (
    (view.getUint32(L.CR0, true) & CR0_PE) !== 0 && (view.getUint32(L.EFLAGS, true) & VM) === 0
  );
}

/** The full tag of a register that is not empty: 0 valid, 1 zero, 2 special. */
function tagOf(view: DataView, physical: number): number {
  const at = L.ST + physical * 16;
  const mantissa = view.getBigUint64(at, true);
  const exponent = view.getUint16(at + 8, true) & 0x7fff;
  if (exponent === 0 && mantissa === 0n) return 1;
  return exponent === 0 || exponent === 0x7fff || mantissa >> 63n === 0n ? 2 : 0;
}

function tagWord(view: DataView): number {
  const tags = view.getUint16(L.FTW, true);
  let result = 0;
  for (let i = 0; i < 8; i++) {
    const empty = ((tags >> (i * 2)) & 3) === 3;
    result |= (empty ? 3 : tagOf(view, i)) << (i * 2);
  }
  return result;
}

/** ARG0: 1 for the 32-bit format. */
function isWide(view: DataView): boolean {
  return view.getUint32(L.ARG0, true) !== 0;
}

function buildEnvironment(view: DataView, wide: boolean): void {
  const step = wide ? 4 : 2;
  const put = (index: number, value: number): void => {
    const at = ENVIRONMENT + index * step;
    if (wide) view.setUint32(at, value >>> 0, true);
    else view.setUint16(at, value & 0xffff, true);
  };
  // The upper halves of the first three words are stored as ones.
  const ones = wide ? 0xffff0000 : 0;
  put(0, view.getUint16(L.FCW, true) | ones);
  put(1, view.getUint16(L.FSW, true) | ones);
  put(2, tagWord(view) | ones);
  const ip = view.getUint32(L.FIP, true);
  const dp = view.getUint32(L.FDP, true);
  const opcode = view.getUint16(L.FOP, true) & 0x7ff;
  if (isProtected(view)) {
    put(3, ip);
    put(4, view.getUint16(L.FCS, true) | (wide ? opcode << 16 : 0));
    put(5, dp);
    put(6, view.getUint16(L.FDS, true) | ones);
    return;
  }
  const linearIp = ip + view.getUint16(L.FCS, true) * 16;
  const linearDp = dp + view.getUint16(L.FDS, true) * 16;
  if (wide) {
    put(3, (linearIp & 0xffff) | ones);
    put(4, ((linearIp >>> 16) << 12) | opcode);
    put(5, (linearDp & 0xffff) | ones);
    put(6, (linearDp >>> 16) << 12);
  } else {
    put(3, linearIp);
    put(4, (((linearIp >>> 16) & 15) << 12) | opcode);
    put(5, linearDp);
    put(6, ((linearDp >>> 16) & 15) << 12);
  }
}

function takeEnvironment(view: DataView, wide: boolean): X87 {
  const step = wide ? 4 : 2;
  const get = (index: number): number => {
    const at = ENVIRONMENT + index * step;
    return wide ? view.getUint32(at, true) : view.getUint16(at, true);
  };
  view.setUint16(L.FCW, (get(0) & 0x1f3f) | 0x40, true);
  view.setUint16(L.FSW, get(1) & 0xffff, true);
  view.setUint16(L.FTW, get(2) & 0xffff, true);
  if (isProtected(view)) {
    view.setBigUint64(L.FIP, BigInt(get(3)), true);
    view.setUint16(L.FCS, get(4) & 0xffff, true);
    view.setUint16(L.FOP, wide ? (get(4) >>> 16) & 0x7ff : 0, true);
    view.setBigUint64(L.FDP, BigInt(get(5)), true);
    view.setUint16(L.FDS, get(6) & 0xffff, true);
  } else {
    const high = (word: number): number => (wide ? (word >>> 12) & 0xffff : word >>> 12) * 0x10000;
    view.setBigUint64(L.FIP, BigInt((get(3) & 0xffff) + high(get(4))), true);
    view.setUint16(L.FOP, get(4) & 0x7ff, true);
    view.setBigUint64(L.FDP, BigInt((get(5) & 0xffff) + high(get(6))), true);
    view.setUint16(L.FCS, 0, true);
    view.setUint16(L.FDS, 0, true);
  }
  return new X87(view);
}

function initialise(view: DataView): Outcome {
  view.setUint16(L.FCW, 0x37f, true);
  view.setUint16(L.FSW, 0, true);
  view.setUint16(L.FTW, 0xffff, true);
  view.setUint16(L.FOP, 0, true);
  view.setBigUint64(L.FIP, 0n, true);
  view.setBigUint64(L.FDP, 0n, true);
  view.setUint32(L.FCS, 0, true);
  return new X87(view).finishControl();
}

/** Registers behind the environment, ten bytes each, from ST(0). */
function moveRegisters(x: X87, at: number, toImage: boolean): void {
  const { view } = x;
  for (let i = 0; i < 8; i++) {
    const register = L.ST + x.physical(i) * 16;
    const image = at + i * 10;
    const [from, to] = toImage ? [register, image] : [image, register];
    view.setBigUint64(to, view.getBigUint64(from, true), true);
    view.setUint16(to + 8, view.getUint16(from + 8, true), true);
  }
}

export const x87Environment: Readonly<Record<string, (view: DataView) => Outcome>> = {
  /** Builds the image of FNSTENV or FNSAVE. */
  x87Image: (view) => {
    const wide = isWide(view);
    buildEnvironment(view, wide);
    const x = new X87(view);
    moveRegisters(x, ENVIRONMENT + environmentSize(wide), true);
    return 0;
  },
  /** What follows FNSTENV: all exceptions are masked. */
  x87Stored: (view) => {
    view.setUint16(L.FCW, view.getUint16(L.FCW, true) | 0x3f, true);
    return new X87(view).finishControl();
  },
  x87Initialise: initialise,
  x87LoadEnvironment: (view) => takeEnvironment(view, isWide(view)).finishControl(),
  x87LoadState: (view) => {
    const wide = isWide(view);
    const x = takeEnvironment(view, wide);
    moveRegisters(x, ENVIRONMENT + environmentSize(wide), false);
    return x.finishControl();
  },
};
