/** Wider accesses to devices whose registers are bytes: one access per byte, lowest first. */

/** Reads `size` bytes from `offset` on, little-endian, as an unsigned number. */
export function readBytewise(
  offset: number,
  size: number,
  readByte: (offset: number) => number,
): number {
  if (size === 1) return readByte(offset);
  let value = 0;
  for (let i = 0; i < size; i++) value += readByte(offset + i) * 2 ** (8 * i);
  return value;
}

/** Writes the low `size` bytes of `value` from `offset` on, little-endian. */
export function writeBytewise(
  offset: number,
  size: number,
  value: number,
  writeByte: (offset: number, value: number) => void,
): void {
  for (let i = 0; i < size; i++) writeByte(offset + i, (value >>> (8 * i)) & 0xff);
}
