/**
 * Instructions whose results the manuals only bound, and how two of them are compared.
 *
 * AMD APM vol. 4, RCPPS: the relative error is at most 1.5 * 2^-12. APM vol. 1, 6.4.5.1: x87
 * transcendentals are accurate to less than one unit in the last place; what rounding did (C1, PE,
 * UE) is then not comparable. Two processors may lie on either side of the true value, so their
 * results may be twice as far apart.
 */
import { hostIsAmd } from './host.js';
import { FX_IMAGE, FX_ST, FX_XMM, type UserState } from './user-state.js';

const RELATIVE = 2 * 1.5 * 2 ** -12;
const UNITS = 2n;
/** C1, precision and underflow. */
const ROUNDING = 0x0230;

const RECIPROCAL = /^R(CP|SQRT)[PS]S$/;
const TRANSCENDENTAL = /^(F2XM1|FYL2X|FYL2XP1|FPTAN|FPATAN|FSIN|FCOS|FSINCOS)$/;

const DOT_PRODUCT = /^DPP[SD]$/;

export function isTranscendental(mnemonic: string): boolean {
  return TRANSCENDENTAL.test(mnemonic);
}

/** Copies what is close enough from `from` to `to`, so that the two then compare equal. */
export function settleApproximations(mnemonic: string, from: UserState, to: UserState): void {
  if (RECIPROCAL.test(mnemonic)) settleSingles(from, to);
  if (!hostIsAmd && DOT_PRODUCT.test(mnemonic)) settleNans(from, to, mnemonic === 'DPPD');
  if (!isTranscendental(mnemonic)) return;
  const status = from.fx.getUint16(FX_IMAGE.fsw, true) & ROUNDING;
  const rest = to.fx.getUint16(FX_IMAGE.fsw, true) & ~ROUNDING;
  to.fx.setUint16(FX_IMAGE.fsw, status | rest, true);
  for (let i = 0; i < 8; i++) settleRegister(from.fx, to.fx, FX_ST + i * 16);
}

function settleSingles(from: UserState, to: UserState): void {
  for (let at = FX_XMM; at < FX_XMM + 256; at += 4) {
    const a = from.fx.getFloat32(at, true);
    const b = to.fx.getFloat32(at, true);
    if (!Number.isFinite(a) || Math.abs(a - b) > Math.abs(a) * RELATIVE) continue;
    to.fx.setUint32(at, from.fx.getUint32(at, true), true);
  }
}

/** NaNs for NaNs: which of several a sum gives is the vendor's; see `isa/vendor-differences.ts`. */
function settleNans(from: UserState, to: UserState, double: boolean): void {
  const bytes = double ? 8 : 4;
  const value = ({ fx }: UserState, at: number): number =>
    double ? fx.getFloat64(at, true) : fx.getFloat32(at, true);
  for (let at = FX_XMM; at < FX_XMM + 256; at += bytes) {
    if (!Number.isNaN(value(from, at)) || !Number.isNaN(value(to, at))) continue;
    to.fxBytes.set(from.fxBytes.subarray(at, at + bytes), at);
  }
}

/** A register's place in the order of extended reals of its sign. */
function rank(fx: DataView, at: number): bigint {
  const exponent = BigInt(fx.getUint16(at + 8, true) & 0x7fff);
  return (exponent << 63n) + (fx.getBigUint64(at, true) & ((1n << 63n) - 1n));
}

function settleRegister(from: DataView, to: DataView, at: number): void {
  const distance = rank(from, at) - rank(to, at);
  const infinite = (from.getUint16(at + 8, true) & 0x7fff) === 0x7fff;
  if (infinite || distance > UNITS || distance < -UNITS) return;
  if (((from.getUint16(at + 8, true) ^ to.getUint16(at + 8, true)) & 0x8000) !== 0) return;
  to.setBigUint64(at, from.getBigUint64(at, true), true);
  to.setUint16(at + 8, from.getUint16(at + 8, true), true);
}
