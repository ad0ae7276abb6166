/**
 * A WebAssembly module under construction: types, imports, functions, one table, exports.
 *
 * Source: WebAssembly core specification 2.0, section 5.5.
 */
import { ByteWriter, VALUE_TYPES, type ValueType } from './encode.js';

export interface FunctionType {
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
}

export interface ImportedFunction {
  readonly module: string;
  readonly name: string;
  readonly type: FunctionType;
}

/** Body of a function: extra locals (after the parameters) and code ending with `end`. */
export interface FunctionBody {
  readonly locals: readonly ValueType[];
  readonly code: Uint8Array;
}

interface DefinedFunction {
  readonly name: string;
  readonly type: number;
  body: FunctionBody | null;
}

export interface MemoryLimits {
  /** In pages of 64 KiB. */
  readonly minimum: number;
  readonly maximum?: number;
  readonly shared: boolean;
}

export class ModuleBuilder {
  readonly #types: string[] = [];
  readonly #typeBytes: Uint8Array[] = [];
  readonly #imports: ImportedFunction[] = [];
  readonly #globals: string[] = [];
  readonly #functions: DefinedFunction[] = [];
  readonly #table: number[] = [];
  readonly #exports: { name: string; kind: number; index: number }[] = [];

  constructor(readonly memory: MemoryLimits) {}

  /** Index of a function type; equal types share one. */
  typeIndex(type: FunctionType): number {
    const key = `${type.params.join(',')}>${type.results.join(',')}`;
    const known = this.#types.indexOf(key);
    if (known >= 0) return known;
    const writer = new ByteWriter(16);
    writer.u8(0x60);
    for (const list of [type.params, type.results]) {
      writer.u32(list.length);
      for (const value of list) writer.u8(VALUE_TYPES[value]);
    }
    this.#types.push(key);
    this.#typeBytes.push(writer.take());
    return this.#types.length - 1;
  }

  /** Imports an immutable i32 global; must precede nothing. Returns its index. */
  importGlobal(name: string): number {
    this.#globals.push(name);
    return this.#globals.length - 1;
  }

  /** Imports a function; all imports come before the first defined function. */
  importFunction(name: string, type: FunctionType): number {
    if (this.#functions.length > 0) throw new Error('imports come first');
    this.typeIndex(type);
    this.#imports.push({ module: 'env', name, type });
    return this.#imports.length - 1;
  }

  /** Declares a function whose body is set later; returns its index. */
  declare(name: string, type: FunctionType): number {
    this.#functions.push({ name, type: this.typeIndex(type), body: null });
    return this.#imports.length + this.#functions.length - 1;
  }

  setBody(index: number, body: FunctionBody): void {
    this.#functions[index - this.#imports.length].body = body;
  }

  /** Appends a function to the table; returns its slot. */
  addToTable(index: number): number {
    this.#table.push(index);
    return this.#table.length - 1;
  }

  exportFunction(name: string, index: number): void {
    this.#exports.push({ name, kind: 0, index });
  }

  /** Exports the table, which can then grow. */
  exportTable(name: string): void {
    this.#exports.push({ name, kind: 1, index: 0 });
  }

  /** The finished module. */
  build(): Uint8Array {
    const out = new ByteWriter(this.#functions.length < 4 ? 1 << 12 : 1 << 16);
    out.raw(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]));
    const section = (id: number, write: (writer: ByteWriter) => void): void => {
      const writer = new ByteWriter(64);
      write(writer);
      out.u8(id);
      out.sized(writer.take());
    };
    section(1, (w) => {
      w.u32(this.#typeBytes.length);
      for (const bytes of this.#typeBytes) w.raw(bytes);
    });
    section(2, (w) => this.#writeImports(w));
    section(3, (w) => {
      w.u32(this.#functions.length);
      for (const { type } of this.#functions) w.u32(type);
    });
    if (this.#table.length > 0) {
      section(4, (w) => {
        w.raw(new Uint8Array([1, 0x70, 0]));
        w.u32(this.#table.length);
      });
    }
    section(7, (w) => {
      w.u32(this.#exports.length);
      for (const { name, kind, index } of this.#exports) {
        w.name(name);
        w.u8(kind);
        w.u32(index);
      }
    });
    if (this.#table.length > 0) {
      section(9, (w) => {
        w.raw(new Uint8Array([1, 0, 0x41, 0, 0x0b]));
        w.u32(this.#table.length);
        for (const index of this.#table) w.u32(index);
      });
    }
    section(10, (w) => {
      w.u32(this.#functions.length);
      for (const defined of this.#functions) w.sized(encodeBody(defined));
    });
    return out.take();
  }

  #writeImports(w: ByteWriter): void {
    w.u32(1 + this.#globals.length + this.#imports.length);
    w.name('env');
    w.name('memory');
    w.u8(2);
    const { minimum, maximum, shared } = this.memory;
    w.u8((maximum === undefined ? 0 : 1) | (shared ? 2 : 0));
    w.u32(minimum);
    if (maximum !== undefined) w.u32(maximum);
    for (const name of this.#globals) {
      w.name('env');
      w.name(name);
      w.raw(new Uint8Array([3, VALUE_TYPES.i32, 0]));
    }
    for (const { module, name, type } of this.#imports) {
      w.name(module);
      w.name(name);
      w.u8(0);
      w.u32(this.typeIndex(type));
    }
  }
}

function encodeBody({ name, body }: DefinedFunction): Uint8Array {
  if (body === null) throw new Error(`function ${name} has no body`);
  const writer = new ByteWriter(body.code.length + 64);
  const groups: [number, ValueType][] = [];
  for (const type of body.locals) {
    const last = groups.at(-1);
    if (last !== undefined && last[1] === type) last[0]++;
    else groups.push([1, type]);
  }
  writer.u32(groups.length);
  for (const [count, type] of groups) {
    writer.u32(count);
    writer.u8(VALUE_TYPES[type]);
  }
  writer.raw(body.code);
  return writer.take();
}
