/**
 * Command buffers as data: core's structs, with values by name and their types. 64-bit fields are
 * numbers: an address above 2^53 loses its low bits, and is none anyway.
 */
import { struct as layOut } from '@cloister/core/abi';
import { viewOf } from '../bytes.js';

type Scalar = 'u8' | 'u16' | 'u32' | 'u64';
/** A scalar, or so many bytes in a row. */
export type FieldType = Scalar | number;
export type Fields = Readonly<Record<string, FieldType>>;

export type Values<F extends Fields> = {
  -readonly [Name in keyof F]: F[Name] extends number ? Uint8Array : number;
};

export interface Struct<F extends Fields = Fields> {
  readonly name: string;
  readonly fields: F;
  /** Bytes from the struct's start, by field. */
  readonly offsets: { readonly [Name in keyof F]: number };
  /** Bytes. */
  readonly size: number;
}

/** A struct of `fields` in C's order; `packed` as the attribute. */
export function struct<const F extends Fields>(
  name: string,
  fields: F,
  { packed = false }: { readonly packed?: boolean } = {},
): Struct<F> {
  const types = Object.entries(fields).map(([field, type]) => {
    return [field, typeof type === 'number' ? (['u8', type] as const) : type] as const;
  });
  const { fields: placed, size } = layOut(name, Object.fromEntries(types), { packed });
  const offsets = Object.fromEntries(placed.map(({ name: field, offset }) => [field, offset]));
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
  for (const [field, kind] of Object.entries(type.fields)) {
    const value = values[field];
    if (value === undefined) continue;
    const at = type.offsets[field]!;
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

function readScalar(view: DataView, at: number, kind: Scalar): number {
  if (kind === 'u8') return view.getUint8(at);
  if (kind === 'u16') return view.getUint16(at, true);
  if (kind === 'u32') return view.getUint32(at, true);
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}

function writeScalar(view: DataView, at: number, kind: Scalar, value: number): void {
  if (kind === 'u8') view.setUint8(at, value);
  else if (kind === 'u16') view.setUint16(at, value, true);
  else if (kind === 'u32') view.setUint32(at, value, true);
  else view.setBigUint64(at, BigInt(value), true);
}
