/**
 * Checked reading of snapshots: a description of a state record that copies what fits it and
 * refuses everything else, so that a damaged record never becomes a device's state.
 */
import type { Snapshot, SnapshotValue } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';

/** Copies a value that fits, or throws `VmmError('snapshot-mismatch')` naming `path`. */
export type Field<T> = (value: unknown, path: string) => T;

/** The type that a description describes. */
export type StateOf<F> = F extends Field<infer T> ? T : never;

function mismatch(path: string, expected: string): VmmError {
  return new VmmError('snapshot-mismatch', `the saved ${path} is not ${expected}`, {
    path,
    remedy: 'restore a snapshot that this version saved',
  });
}

/** An integer from `min` to `max`. */
export function int(min: number, max: number): Field<number> {
  return (value, path) => {
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) {
      return value;
    }
    throw mismatch(path, `an integer from ${min} to ${max}`);
  };
}

export const u8 = int(0, 0xff);
export const u16 = int(0, 0xffff);
export const u32 = int(0, 0xffffffff);
/** Nanoseconds, or ticks, since the start. */
export const time = int(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);

export const bool: Field<boolean> = (value, path) => {
  if (typeof value === 'boolean') return value;
  throw mismatch(path, 'true or false');
};

export function optional<T>(field: Field<T>): Field<T | null> {
  return (value, path) => (value === null ? null : field(value, path));
}

/** Bytes; `max` is the longest allowed, `exact` the only length where given. */
export function bytes(max: number, exact = false): Field<Uint8Array> {
  return (value, path) => {
    if (value instanceof Uint8Array && value.length <= max && (!exact || value.length === max)) {
      return value.slice();
    }
    throw mismatch(path, `${exact ? '' : 'at most '}${max} bytes`);
  };
}

/** A list of `min` to `max` elements. */
function listOf<T>(field: Field<T>, min: number, max: number): Field<T[]> {
  return (value, path) => {
    if (!Array.isArray(value) || value.length < min || value.length > max) {
      throw mismatch(path, `a list of ${min === max ? '' : 'at most '}${max}`);
    }
    return value.map((element: unknown, index) => field(element, `${path}[${index}]`));
  };
}

/** A list of exactly `length` elements. */
export function list<T>(field: Field<T>, length: number): Field<T[]> {
  return listOf(field, length, length);
}

/** A list of at most `max` elements. */
export function listUpTo<T>(field: Field<T>, max: number): Field<T[]> {
  return listOf(field, 0, max);
}

/** A record with exactly these members. */
export function record<T extends object>(
  fields: { readonly [K in keyof T]: Field<T[K]> },
): Field<T> {
  const names = Object.keys(fields) as (keyof T & string)[];
  return (value, path) => {
    const isList = Array.isArray(value) || ArrayBuffer.isView(value);
    if (typeof value !== 'object' || value === null || isList) {
      throw mismatch(path, 'a record');
    }
    for (const name of Object.keys(value)) {
      if (!Object.hasOwn(fields, name)) throw mismatch(`${path}.${name}`, 'a known member');
    }
    const source = value as Record<string, unknown>;
    const copy = {} as T;
    for (const name of names) copy[name] = fields[name](source[name], `${path}.${name}`);
    return copy;
  };
}

/** How one device's state is saved: its name, layout version and description. */
export interface StateFormat<T> {
  readonly type: string;
  readonly version: number;
  readonly field: Field<T>;
}

/** Takes a snapshot: a checked copy, so that a state outside its description is found at once. */
export function saveState<T>(format: StateFormat<T>, state: T): Snapshot {
  const copy = format.field(state, format.type);
  return { type: format.type, version: format.version, state: copy as SnapshotValue };
}

/** The state in a snapshot, copied; `VmmError('snapshot-mismatch')` if it is not one of these. */
export function loadState<T>(format: StateFormat<T>, snapshot: Snapshot): T {
  if (snapshot.type !== format.type || snapshot.version !== format.version) {
    throw new VmmError(
      'snapshot-mismatch',
      `expected a snapshot ${format.type} version ${format.version}, ` +
        `got ${snapshot.type} version ${snapshot.version}`,
      { remedy: 'restore it with the version of Cloister that saved it' },
    );
  }
  return format.field(snapshot.state, format.type);
}
