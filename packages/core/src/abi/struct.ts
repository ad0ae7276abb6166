/**
 * C structs as data: fields in order, offsets by the rules of the System V ABI for x86-64, and
 * views that read and write them in place. Little-endian, as the processor.
 *
 * `tools/kernel-headers` compares every size and offset of the packages' tables with what a C
 * compiler makes of the kernel's headers.
 */

/** Scalars; `bytes` is not one: an array of u8 is `['u8', n]`. */
export type Scalar = 'u8' | 'u16' | 'u32' | 's32' | 'u64' | 's64';
/** A scalar, a struct, or so many of one in a row. */
export type FieldType = Scalar | Struct | readonly [Scalar | Struct, number];

export interface Field {
  readonly name: string;
  readonly type: FieldType;
  /** Bytes from the struct's start. */
  readonly offset: number;
}

export interface Struct {
  /** As in C, without `struct`. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly align: number;
  readonly fields: readonly Field[];
}

const SCALARS: Readonly<Record<Scalar, number>> = { u8: 1, u16: 2, u32: 4, s32: 4, u64: 8, s64: 8 };

function layoutOf(type: FieldType): { readonly size: number; readonly align: number } {
  if (typeof type === 'string') return { size: SCALARS[type], align: SCALARS[type] };
  if (!('fields' in type)) {
    const { size, align } = layoutOf(type[0]);
    return { size: size * type[1], align };
  }
  return type;
}

const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

/**
 * A struct of `fields` in C's order. `packed` as the attribute. `size` is that of a struct whose
 * end is a union or padding that is not spelled out here.
 */
export function struct(
  name: string,
  fields: Readonly<Record<string, FieldType>>,
  options: { readonly packed?: boolean; readonly size?: number } = {},
): Struct {
  let end = 0;
  let align = 1;
  const placed: Field[] = [];
  for (const [field, type] of Object.entries(fields)) {
    const own = layoutOf(type);
    const unit = options.packed ? 1 : own.align;
    const offset = roundUp(end, unit);
    placed.push({ name: field, type, offset });
    end = offset + own.size;
    align = Math.max(align, unit);
  }
  return { name, fields: placed, align, size: options.size ?? roundUp(end, align) };
}

/** Offset of a field, by its path through nested structs: `offsetOf(REGS, 'rip')`. */
export function offsetOf(type: Struct, path: string): number {
  const [first, ...rest] = path.split('.');
  const field = type.fields.find(({ name }) => name === first);
  if (field === undefined) throw new Error(`struct ${type.name} has no field ${first}`);
  if (rest.length === 0) return field.offset;
  return field.offset + offsetOf(field.type as Struct, rest.join('.'));
}

/** A struct in memory: fields by name, for cold code. */
export class StructView {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  /** Over `bytes` from `offset` on, or over memory of its own, zeroed. */
  constructor(
    readonly type: Struct,
    bytes?: Uint8Array,
    offset = 0,
  ) {
    this.bytes = bytes?.subarray(offset, offset + type.size) ?? new Uint8Array(type.size);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
  }

  /** A scalar of at most 32 bits. */
  get(path: string): number {
    const { offset, type } = this.field(path);
    switch (type) {
      case 'u8':
        return this.view.getUint8(offset);
      case 'u16':
        return this.view.getUint16(offset, true);
      case 's32':
        return this.view.getInt32(offset, true);
      default:
        return this.view.getUint32(offset, true);
    }
  }

  get64(path: string): bigint {
    return this.view.getBigUint64(this.field(path).offset, true);
  }

  set(path: string, value: number | bigint): this {
    const { offset, type } = this.field(path);
    if (type === 'u64' || type === 's64') {
      this.view.setBigUint64(offset, BigInt.asUintN(64, BigInt(value)), true);
    } else if (type === 'u8') this.view.setUint8(offset, Number(value));
    else if (type === 'u16') this.view.setUint16(offset, Number(value), true);
    else this.view.setUint32(offset, Number(value) >>> 0, true);
    return this;
  }

  private field(path: string): { offset: number; type: FieldType } {
    let offset = 0;
    let at: FieldType = this.type;
    for (const name of path.split('.')) {
      const found: Field | undefined = (at as Struct).fields.find((field) => field.name === name);
      if (found === undefined) throw new Error(`struct ${this.type.name} has no field ${path}`);
      offset += found.offset;
      at = found.type;
    }
    return { offset, type: at };
  }
}

/** A struct with the given fields set, the others zero. */
export function make(
  type: Struct,
  values: Readonly<Record<string, number | bigint>> = {},
): StructView {
  const made = new StructView(type);
  for (const [path, value] of Object.entries(values)) made.set(path, value);
  return made;
}
