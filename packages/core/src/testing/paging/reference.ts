/**
 * What an access does, by the manual and nothing else: a page walk over the entries of a case in
 * BigInt, written for reading and not for speed, sharing nothing with any processor.
 *
 * Source: AMD APM vol. 2, 5.2-5.4 (formats of entries), 5.6 (protection, SMEP, SMAP, keys), 8.4.2
 * (error code).
 */
import { A, D, NX, P, type PagingCase, PS, U, W } from './cases.js';
import { isLong, type PagingStructure } from './structures.js';

export interface PagingProcessor {
  /** Bits of a physical address. */
  readonly physicalBits: number;
  /** 1 GiB pages. */
  readonly gigabytePages: boolean;
}

export interface PagingResult {
  /** The page fault's error code; null where there is none. */
  readonly error: number | null;
  readonly entries: readonly bigint[];
}

const ERROR = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16, key: 32 } as const;

/** Bits from `low` to `high`. */
function bits(high: number, low: number): bigint {
  return high < low ? 0n : ((1n << BigInt(high - low + 1)) - 1n) << BigInt(low);
}

/** Bits that must be zero in a present entry whose level translates from bit `shift` up. */
function reserved(
  structure: PagingStructure,
  cpu: PagingProcessor,
  c: PagingCase,
  shift: number,
  entry: bigint,
): bigint {
  const { mode } = structure;
  const large = shift > 12 && (entry & PS) !== 0n;
  if (mode === 'legacy') {
    if (!large) return 0n;
    // PSE-36: bits 20:13 are address bits 39:32.
    const beyond = Math.max(0, 40 - cpu.physicalBits);
    return bits(21, 21) | (beyond === 0 ? 0n : bits(20, 21 - beyond));
  }
  let mask = bits(51, cpu.physicalBits) | (c.noExecute ? 0n : NX);
  if (mode === 'pae') mask |= bits(62, 52);
  if (shift === 21 && large) mask |= bits(20, 13);
  if (shift === 30 && large) mask |= bits(29, 13) | (cpu.gigabytePages ? 0n : PS);
  if (shift === 39) mask |= bits(8, 7);
  if (shift === 48) mask |= bits(7, 7);
  return mask;
}

/** Whether the protection key of a user page denies the access. */
function keyDenies(c: PagingCase, leaf: bigint): boolean {
  if (c.pkru === undefined || c.kind === 'execute') return false;
  const rights = c.pkru >>> (Number((leaf >> 59n) & 15n) * 2);
  if ((rights & 1) !== 0) return true;
  const byUser = c.user && c.kind !== 'implicit';
  return (rights & 2) !== 0 && c.kind === 'write' && (byUser || c.writeProtect);
}

function mayAccess(c: PagingCase, w: boolean, u: boolean, x: boolean, byUser: boolean): boolean {
  if (byUser) {
    if (!u) return false;
    return c.kind === 'write' ? w : c.kind !== 'execute' || x;
  }
  if (c.kind === 'execute') return x && !(u && c.smep);
  const passes = c.ac && c.kind !== 'implicit';
  if (u && c.smap && !passes) return false;
  return c.kind !== 'write' || w || !c.writeProtect;
}

export function referenceWalk(
  structure: PagingStructure,
  cpu: PagingProcessor,
  c: PagingCase,
): PagingResult {
  const { mode, shifts } = structure;
  const { entries } = c;
  const byUser = c.user && c.kind !== 'implicit';
  const fetchKnown = c.smep || (c.noExecute && mode !== 'legacy');
  const about =
    (c.kind === 'write' ? ERROR.write : 0) |
    (byUser ? ERROR.user : 0) |
    (c.kind === 'execute' && fetchKnown ? ERROR.fetch : 0);
  for (const [level, entry] of entries.entries()) {
    if ((entry & P) === 0n) return { error: about, entries };
    if (mode === 'pae' && level === 0) continue;
    if ((entry & reserved(structure, cpu, c, shifts[level]!, entry)) !== 0n) {
      return { error: about | ERROR.present | ERROR.reserved, entries };
    }
  }
  const rights = mode === 'pae' ? entries.slice(1) : entries;
  const leaf = entries[entries.length - 1]!;
  const w = rights.every((entry) => (entry & W) !== 0n);
  const u = rights.every((entry) => (entry & U) !== 0n);
  const x = !c.noExecute || mode === 'legacy' || rights.every((entry) => (entry & NX) === 0n);
  const denied = isLong(structure) && u && keyDenies(c, leaf);
  if (denied || !mayAccess(c, w, u, x, byUser)) {
    return { error: about | ERROR.present | (denied ? ERROR.key : 0), entries };
  }
  const used = entries.map((entry, level) => {
    if (mode === 'pae' && level === 0) return entry;
    const dirty = c.kind === 'write' && level === entries.length - 1;
    return entry | A | (dirty ? D : 0n);
  });
  return { error: null, entries: used };
}
