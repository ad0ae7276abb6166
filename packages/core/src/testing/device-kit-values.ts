/** Values of snapshots in the device kit: compared, copied, measured and damaged. */
import type { Snapshot, SnapshotValue } from '../interfaces/index.js';

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Null if equal, else where and how the values differ. */
export function equal(a: unknown, b: unknown, path: string): string | null {
  if (Object.is(a, b)) return null;
  if (a instanceof Uint8Array && b instanceof Uint8Array) {
    if (a.length !== b.length) return `${path} has ${a.length} bytes against ${b.length}`;
    const at = a.findIndex((byte, index) => byte !== b[index]);
    return at < 0 ? null : `${path}[${at}] is ${a[at]} against ${b[at]}`;
  }
  if (Array.isArray(a) && Array.isArray(b)) {
    for (let i = 0; i < Math.min(a.length, b.length); i++) {
      const difference = equal(a[i], b[i], `${path}[${i}]`);
      if (difference !== null) return difference;
    }
    if (a.length === b.length) return null;
    const [longer, shorter] = a.length > b.length ? [a, b] : [b, a];
    return `${path} has ${a.length} entries against ${b.length}: ${String(longer[shorter.length])}`;
  }
  if (isRecord(a) && isRecord(b) && !ArrayBuffer.isView(a) && !ArrayBuffer.isView(b)) {
    for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) {
      const difference = equal(a[name], b[name], `${path}.${name}`);
      if (difference !== null) return difference;
    }
    return null;
  }
  return `${path} is ${String(a)} against ${String(b)}`;
}

function copyValue(value: SnapshotValue | undefined): SnapshotValue | undefined {
  if (value instanceof Uint8Array) return value.slice();
  if (Array.isArray(value)) return value.map((element) => copyValue(element) as SnapshotValue);
  if (!isRecord(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [name, copyValue(member as SnapshotValue)]),
  );
}

/** A copy that shares nothing. */
export function plainCopy(snapshot: Snapshot): Snapshot {
  return { ...snapshot, state: copyValue(snapshot.state) as SnapshotValue };
}

/** What a snapshot must not hold, and where; null if it is plain data. */
export function stray(value: unknown, path: string): string | null {
  if (value === null || value instanceof Uint8Array) return null;
  if (typeof value === 'string' || typeof value === 'boolean') return null;
  if (typeof value === 'number') {
    return Number.isFinite(value) ? null : `${path} is ${value}, which JSON can't hold`;
  }
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const found = stray(value[i], `${path}[${i}]`);
      if (found !== null) return found;
    }
    return null;
  }
  const plain = isRecord(value) && Object.getPrototypeOf(value) === Object.prototype;
  if (!plain) return `${path} is not plain data`;
  for (const [name, member] of Object.entries(value)) {
    const found = member === undefined ? null : stray(member, `${path}.${name}`);
    if (found !== null) return found;
  }
  return null;
}

/** Bytes of a snapshot's values, roughly. */
export function snapshotSize(value: unknown): number {
  if (value instanceof Uint8Array || typeof value === 'string') return value.length;
  if (Array.isArray(value)) return value.reduce<number>((sum, item) => sum + snapshotSize(item), 0);
  if (!isRecord(value)) return 8;
  return Object.entries(value).reduce((sum, [name, v]) => sum + name.length + snapshotSize(v), 0);
}

/** Copies of a state, each with one member missing, of another type, or beyond any range. */
export function damagedCopies(
  state: SnapshotValue,
): { readonly state: SnapshotValue; readonly what: string }[] {
  if (!isRecord(state) || ArrayBuffer.isView(state)) return [{ state: null, what: 'of null' }];
  const copies: { state: SnapshotValue; what: string }[] = [
    { state: null, what: 'of null' },
    { state: [], what: 'that is a list' },
    { state: 'text', what: 'that is a text' },
  ];
  for (const [name, member] of Object.entries(state)) {
    const { [name]: _, ...rest } = state;
    copies.push({ state: rest as SnapshotValue, what: `without ${name}` });
    const replacements: SnapshotValue[] = ['text', [[]], { unknown: 1 }];
    if (typeof member === 'number') replacements.push(Number.NaN, 0.5, 2 ** 60, -(2 ** 60));
    if (member instanceof Uint8Array) replacements.push(new Uint8Array(1 << 20));
    for (const replacement of replacements) {
      const what = `with ${name} = ${String(replacement).slice(0, 20)}`;
      copies.push({ state: { ...rest, [name]: replacement } as SnapshotValue, what });
    }
  }
  return copies;
}
