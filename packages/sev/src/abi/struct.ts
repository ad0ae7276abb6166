/**
 * C structs of firmware and kernel as data: fields in order, their offsets, values by name.
 * Little-endian, as the processor.
 *
 * Command buffers of the firmware have no padding (`packed`); KVM's follow the System V ABI for
 * x86-64. 64-bit fields are numbers: an address above 2^53 loses its low bits, and is none anyway.
 */
import { viewOf } from '../bytes.js';

/** A scalar, or so many bytes in a row. */
export type FieldType = 'u8' | 'u16' | 'u32' | 'u64' | number;
export type Fields = Readonly<Record<string, FieldType>>;

export type Values<F extends Fields> = {
  -readonly [Name in keyof F]: F[Name] extends number ? Uint8Array : number;
};

export interface Struct<F extends Fields = Fields> {
  /** As in C, without `struct`. */
  readonly name: string;
  readonly fields: F;
  /** Bytes from the struct's start, by field. */
  readonly offsets: { readonly [Name in keyof F]: number };
  /** Bytes. */
  readonly size: number;
}

const SCALARS = { u8: 1, u16: 2, u32: 4, u64: 8 } as const;

/** A struct of `fields` in C's order. */
export function struct<const F extends Fields>(
  name: string,
  fields: F,
  { packed = false }: { readonly packed?: boolean } = {},
): Struct<F> {
  const offsets: Record<string, number> = {};
  let end = 0;
  let align = 1;
  for (const [field, type] of Object.entries(fields)) {
    const size = typeof type === 'number' ? type : SCALARS[type];
    const unit = packed || typeof type === 'number' ? 1 : size;
    const offset = Math.ceil(end / unit) * unit;
    offsets[field] = offset;
    end = offset + size;
    align = Math.max(align, unit);
  }
  const size = Math.ceil(end / align) * align;
  return { name, fields, offsets: offsets as Struct<F>['offsets'], size };
}

/** The fields of the struct at the start of `bytes`, which has room for it. */
export function decode<F extends Fields>(type: Struct<F>, bytes: Uint8Array): Values<F> {
  const view = viewOf(bytes);
  const values: Record<string, number | Uint8Array> = {};
  for (const [field, kind] of Object.entries(type.fields)) {
    const at = type.offsets[field]!;
    values[field] =
      typeof kind === 'number' ? bytes.slice(at, at + kind) : readScalar(view, at, kind);
  }
  return values as Values<F>;
}

/** Writes the given fields into `bytes`; the others keep what they have. */
export function update<F extends Fields>(
  type: Struct<F>,
  bytes: Uint8Array,
  values: Partial<Values<F>>,
): void {
  const view = viewOf(bytes);
  for (const [field, value] of Object.entries(values)) {
    const at = type.offsets[field]!;
    const kind = type.fields[field]!;
    if (typeof kind === 'number') bytes.set(value as Uint8Array, at);
    else writeScalar(view, at, kind, value as number);
  }
}

/** A new struct with these fields, the others zero. */
export function encode<F extends Fields>(
  type: Struct<F>,
  values: Partial<Values<F>> = {},
): Uint8Array {
  const bytes = new Uint8Array(type.size);
  update(type, bytes, values);
  return bytes;
}

function readScalar(view: DataView, at: number, kind: keyof typeof SCALARS): number {
  if (kind === 'u8') return view.getUint8(at);
  if (kind === 'u16') return view.getUint16(at, true);
  if (kind === 'u32') return view.getUint32(at, true);
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}

function writeScalar(view: DataView, at: number, kind: keyof typeof SCALARS, value: number): void {
  if (kind === 'u8') view.setUint8(at, value);
  else if (kind === 'u16') view.setUint16(at, value, true);
  else if (kind === 'u32') view.setUint32(at, value, true);
  else view.setBigUint64(at, BigInt(value), true);
}
