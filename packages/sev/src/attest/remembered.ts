/**
 * AMD writes the same names and algorithms into every certificate: reading them once is enough.
 */

/** More than there are kinds of certificates; what is longer or more is read each time. */
const ENTRIES_MAX = 32;
const BYTES_MAX = 512;

/** Keeps the last results by the bytes they came from. They must be values nobody changes. */
export function remembered<T>(read: (der: Uint8Array) => T): (der: Uint8Array) => T {
  const known = new Map<string, T>();
  return (der) => {
    if (der.length > BYTES_MAX) return read(der);
    const key = String.fromCharCode(...der);
    if (known.has(key)) return known.get(key)!;
    const value = read(der);
    if (known.size >= ENTRIES_MAX) known.delete(known.keys().next().value!);
    known.set(key, value);
    return value;
  };
}
