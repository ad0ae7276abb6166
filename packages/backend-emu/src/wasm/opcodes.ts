/**
 * Opcodes by their text names.
 *
 * Source: WebAssembly core specification 2.0, chapter 5 (binary format).
 */

/** Names of consecutive opcodes from `first`; `-` skips a number. */
function run(first: number, names: string): [string, number][] {
  const list = names.trim().split(/\s+/);
  return list
    .map((name, index): [string, number] => [name, first + index])
    .filter(([name]) => name !== '-');
}

/** Plain one-byte numeric instructions, in the order of the specification's table. */
export const OPCODES: ReadonlyMap<string, number> = new Map([
  ...run(0x45, 'i32.eqz i32.eq i32.ne i32.lt_s i32.lt_u i32.gt_s i32.gt_u i32.le_s i32.le_u'),
  ...run(0x4e, 'i32.ge_s i32.ge_u'),
  ...run(0x50, 'i64.eqz i64.eq i64.ne i64.lt_s i64.lt_u i64.gt_s i64.gt_u i64.le_s i64.le_u'),
  ...run(0x59, 'i64.ge_s i64.ge_u'),
  ...run(
    0x5b,
    'f32.eq f32.ne f32.lt f32.gt f32.le f32.ge f64.eq f64.ne f64.lt f64.gt f64.le f64.ge',
  ),
  ...run(0x67, 'i32.clz i32.ctz i32.popcnt i32.add i32.sub i32.mul i32.div_s i32.div_u i32.rem_s'),
  ...run(0x70, 'i32.rem_u i32.and i32.or i32.xor i32.shl i32.shr_s i32.shr_u i32.rotl i32.rotr'),
  ...run(0x79, 'i64.clz i64.ctz i64.popcnt i64.add i64.sub i64.mul i64.div_s i64.div_u i64.rem_s'),
  ...run(0x82, 'i64.rem_u i64.and i64.or i64.xor i64.shl i64.shr_s i64.shr_u i64.rotl i64.rotr'),
  ...run(0x8b, 'f32.abs f32.neg f32.ceil f32.floor f32.trunc f32.nearest f32.sqrt f32.add f32.sub'),
  ...run(0x94, 'f32.mul f32.div f32.min f32.max f32.copysign'),
  ...run(0x99, 'f64.abs f64.neg f64.ceil f64.floor f64.trunc f64.nearest f64.sqrt f64.add f64.sub'),
  ...run(0xa2, 'f64.mul f64.div f64.min f64.max f64.copysign'),
  ...run(0xa7, 'i32.wrap_i64 i32.trunc_f32_s i32.trunc_f32_u i32.trunc_f64_s i32.trunc_f64_u'),
  ...run(0xac, 'i64.extend_i32_s i64.extend_i32_u i64.trunc_f32_s i64.trunc_f32_u'),
  ...run(0xb0, 'i64.trunc_f64_s i64.trunc_f64_u f32.convert_i32_s f32.convert_i32_u'),
  ...run(0xb4, 'f32.convert_i64_s f32.convert_i64_u f32.demote_f64 f64.convert_i32_s'),
  ...run(0xb8, 'f64.convert_i32_u f64.convert_i64_s f64.convert_i64_u f64.promote_f32'),
  ...run(0xbc, 'i32.reinterpret_f32 i64.reinterpret_f64 f32.reinterpret_i32 f64.reinterpret_i64'),
  ...run(0xc0, 'i32.extend8_s i32.extend16_s i64.extend8_s i64.extend16_s i64.extend32_s'),
]);

/** Loads and stores: opcode and natural alignment (log2). */
export const MEMORY_OPCODES: ReadonlyMap<string, number> = new Map([
  ...run(0x28, 'i32.load i64.load f32.load f64.load i32.load8_s i32.load8_u i32.load16_s'),
  ...run(0x2f, 'i32.load16_u i64.load8_s i64.load8_u i64.load16_s i64.load16_u i64.load32_s'),
  ...run(0x35, 'i64.load32_u i32.store i64.store f32.store f64.store i32.store8 i32.store16'),
  ...run(0x3c, 'i64.store8 i64.store16 i64.store32'),
]);

/** SIMD loads and stores (prefix 0xfd, alignment and offset), by number. */
export const SIMD_MEMORY_OPCODES: ReadonlyMap<string, number> = new Map([
  ...run(0, 'v128.load'),
  ...run(7, 'v128.load8_splat v128.load16_splat v128.load32_splat v128.load64_splat v128.store'),
  ...run(92, 'v128.load32_zero v128.load64_zero'),
]);

/** SIMD instructions without immediates (prefix 0xfd), by number. */
export const SIMD_OPCODES: ReadonlyMap<string, number> = new Map([
  ...run(
    14,
    'i8x16.swizzle i8x16.splat i16x8.splat i32x4.splat i64x2.splat f32x4.splat f64x2.splat',
  ),
  ...run(35, 'i8x16.eq i8x16.ne i8x16.lt_s i8x16.lt_u i8x16.gt_s i8x16.gt_u i8x16.le_s i8x16.le_u'),
  ...run(43, 'i8x16.ge_s i8x16.ge_u i16x8.eq i16x8.ne i16x8.lt_s i16x8.lt_u i16x8.gt_s i16x8.gt_u'),
  ...run(51, 'i16x8.le_s i16x8.le_u i16x8.ge_s i16x8.ge_u i32x4.eq i32x4.ne i32x4.lt_s i32x4.lt_u'),
  ...run(59, 'i32x4.gt_s i32x4.gt_u i32x4.le_s i32x4.le_u i32x4.ge_s i32x4.ge_u f32x4.eq f32x4.ne'),
  ...run(67, 'f32x4.lt f32x4.gt f32x4.le f32x4.ge f64x2.eq f64x2.ne f64x2.lt f64x2.gt f64x2.le'),
  ...run(
    76,
    'f64x2.ge v128.not v128.and v128.andnot v128.or v128.xor v128.bitselect v128.any_true',
  ),
  ...run(94, 'f32x4.demote_f64x2_zero f64x2.promote_low_f32x4 i8x16.abs i8x16.neg i8x16.popcnt'),
  ...run(99, 'i8x16.all_true i8x16.bitmask i8x16.narrow_i16x8_s i8x16.narrow_i16x8_u'),
  ...run(107, 'i8x16.shl i8x16.shr_s i8x16.shr_u i8x16.add i8x16.add_sat_s i8x16.add_sat_u'),
  ...run(113, 'i8x16.sub i8x16.sub_sat_s i8x16.sub_sat_u - - i8x16.min_s i8x16.min_u i8x16.max_s'),
  ...run(103, 'f32x4.ceil f32x4.floor f32x4.trunc f32x4.nearest'),
  ...run(116, 'f64x2.ceil f64x2.floor'),
  ...run(121, 'i8x16.max_u f64x2.trunc i8x16.avgr_u i16x8.extadd_pairwise_i8x16_s'),
  ...run(125, 'i16x8.extadd_pairwise_i8x16_u i32x4.extadd_pairwise_i16x8_s'),
  ...run(127, 'i32x4.extadd_pairwise_i16x8_u'),
  ...run(148, 'f64x2.nearest'),
  ...run(128, 'i16x8.abs i16x8.neg i16x8.q15mulr_sat_s i16x8.all_true i16x8.bitmask'),
  ...run(133, 'i16x8.narrow_i32x4_s i16x8.narrow_i32x4_u i16x8.extend_low_i8x16_s'),
  ...run(136, 'i16x8.extend_high_i8x16_s i16x8.extend_low_i8x16_u i16x8.extend_high_i8x16_u'),
  ...run(139, 'i16x8.shl i16x8.shr_s i16x8.shr_u i16x8.add i16x8.add_sat_s i16x8.add_sat_u'),
  ...run(145, 'i16x8.sub i16x8.sub_sat_s i16x8.sub_sat_u - i16x8.mul i16x8.min_s i16x8.min_u'),
  ...run(152, 'i16x8.max_s i16x8.max_u - i16x8.avgr_u'),
  ...run(156, 'i16x8.extmul_low_i8x16_s i16x8.extmul_high_i8x16_s i16x8.extmul_low_i8x16_u'),
  ...run(159, 'i16x8.extmul_high_i8x16_u i32x4.abs i32x4.neg - i32x4.all_true i32x4.bitmask'),
  ...run(167, 'i32x4.extend_low_i16x8_s i32x4.extend_high_i16x8_s i32x4.extend_low_i16x8_u'),
  ...run(170, 'i32x4.extend_high_i16x8_u i32x4.shl i32x4.shr_s i32x4.shr_u i32x4.add'),
  ...run(177, 'i32x4.sub - - - i32x4.mul i32x4.min_s i32x4.min_u i32x4.max_s i32x4.max_u'),
  ...run(186, 'i32x4.dot_i16x8_s - i32x4.extmul_low_i16x8_s i32x4.extmul_high_i16x8_s'),
  ...run(190, 'i32x4.extmul_low_i16x8_u i32x4.extmul_high_i16x8_u i64x2.abs i64x2.neg -'),
  ...run(195, 'i64x2.all_true i64x2.bitmask - - i64x2.extend_low_i32x4_s'),
  ...run(200, 'i64x2.extend_high_i32x4_s i64x2.extend_low_i32x4_u i64x2.extend_high_i32x4_u'),
  ...run(203, 'i64x2.shl i64x2.shr_s i64x2.shr_u i64x2.add - - i64x2.sub - - - i64x2.mul i64x2.eq'),
  ...run(215, 'i64x2.ne i64x2.lt_s i64x2.gt_s i64x2.le_s i64x2.ge_s'),
  ...run(220, 'i64x2.extmul_low_i32x4_s i64x2.extmul_high_i32x4_s i64x2.extmul_low_i32x4_u'),
  ...run(223, 'i64x2.extmul_high_i32x4_u f32x4.abs f32x4.neg - f32x4.sqrt f32x4.add f32x4.sub'),
  ...run(
    230,
    'f32x4.mul f32x4.div f32x4.min f32x4.max f32x4.pmin f32x4.pmax f64x2.abs f64x2.neg -',
  ),
  ...run(239, 'f64x2.sqrt f64x2.add f64x2.sub f64x2.mul f64x2.div f64x2.min f64x2.max f64x2.pmin'),
  ...run(247, 'f64x2.pmax i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u f32x4.convert_i32x4_s'),
  ...run(251, 'f32x4.convert_i32x4_u i32x4.trunc_sat_f64x2_s_zero i32x4.trunc_sat_f64x2_u_zero'),
  ...run(254, 'f64x2.convert_low_i32x4_s f64x2.convert_low_i32x4_u'),
]);

/** Lane access (prefix 0xfd, one lane immediate), by number. */
export const LANE_OPCODES: ReadonlyMap<string, number> = new Map([
  ...run(21, 'i8x16.extract_lane_s i8x16.extract_lane_u i8x16.replace_lane'),
  ...run(24, 'i16x8.extract_lane_s i16x8.extract_lane_u i16x8.replace_lane'),
  ...run(27, 'i32x4.extract_lane i32x4.replace_lane i64x2.extract_lane i64x2.replace_lane'),
  ...run(31, 'f32x4.extract_lane f32x4.replace_lane f64x2.extract_lane f64x2.replace_lane'),
]);
