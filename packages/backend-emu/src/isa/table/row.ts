/**
 * Rows of the opcode tables and their operand notation.
 *
 * Operands are written as in the opcode maps of AMD APM vol. 3, appendix A: a letter for where the
 * operand is, a letter for its size.
 *
 * Where: `E` general register or memory by ModRM.rm; `G` general register by ModRM.reg; `M` memory
 * only; `R` general register by ModRM.rm only; `B` general register by VEX.vvvv; `Z` general
 * register in the opcode's low three bits;
 * `I` immediate; `J` relative target; `O` memory at an offset in the instruction; `A` far pointer
 * in the instruction; `S` segment register by ModRM.reg; `C`, `D` control and debug register by
 * ModRM.reg; `V` XMM register by ModRM.reg; `W` XMM register or memory; `U` XMM register by
 * ModRM.rm; `P`, `Q`, `N` the same three for MMX registers; `F` x87 stack register in the low three
 * bits. Fixed: `AL`, `AX`, `CL`, `rAX`, `eAX` (at most 32 bits), `DX`, `1`, `es` … `gs`.
 *
 * Size: `b` 8, `w` 16, `d` 32, `q` 64, `o` 128 bits, `t` 80; `v` operand size; `z` operand size,
 * at most 32; `y` 64 with REX.W, else 32; `n` 64 in 64-bit mode, else 32; `s` (immediates only)
 * 8 bits, sign-extended to the operand size; `e` (immediates only) the 16 and 8 bits of ENTER; `p`
 * no size (an address). `EvMw` is a register of the operand size, or 16 bits of memory.
 */
export interface Row {
  readonly mnemonic: string;
  /** Operand codes, e.g. `['Ev', 'Gv']`. */
  readonly operands: readonly string[];
  /** See `RowFlags`. */
  readonly flags: ReadonlySet<RowFlag>;
  /** AMD APM or other source where it is not vol. 3 appendix A. */
  readonly feature: string;
  /** Counts rows, so that what is known of one can be found by it. */
  readonly number: number;
  /** An operand is named by ModRM. */
  readonly hasModrm: boolean;
}

let rows = 0;

export type RowFlag =
  /** Operand size is 64 bits in 64-bit mode (16 with 66), never 32. */
  | 'd64'
  /** Undefined in 64-bit mode. */
  | 'i64'
  /** Only in 64-bit mode. */
  | 'o64'
  /** Operand size is 8 bits. */
  | 'byte'
  /** A string instruction: F2 and F3 repeat it. */
  | 'rep'
  /** The form depends on the address size. */
  | 'addr'
  /** Operand size is 32 bits, 64 with REX.W; the 66 prefix does not count. */
  | 'w32'
  /** The operand size means nothing: it counts as 32 bits. */
  | 'any'
  /** Operand size is at most 32 bits. */
  | 'z'
  /** Undefined in real and virtual-8086 mode. */
  | 'prot';

/** `row('ADD Ev,Gv')`, `row('PUSH Zv', 'd64')`; `feature` names the CPUID feature it needs. */
export function row(text: string, flags = '', feature = ''): Row {
  const [mnemonic, list = ''] = text.split(' ');
  const operands = list === '' ? [] : list.split(',');
  return {
    mnemonic,
    operands,
    flags: new Set(flags === '' ? [] : (flags.split(' ') as RowFlag[])),
    feature,
    number: rows++,
    hasModrm: operands.some((code) => /^[EGMRSCDVWUPQN]/.test(code) && code !== 'DX'),
  };
}

/** How many rows there are: more than the number of any. */
export function rowCount(): number {
  return rows;
}

/** The same row in eight consecutive opcodes (register in the low three bits), and the like. */
export function repeat(count: number, make: (index: number) => Entry): Entry[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

/** What an opcode means: a row, or a choice by something behind or before it. */
export type Entry =
  | Row
  | null
  /** Choice by ModRM.reg, 8 entries. */
  | { readonly by: 'reg'; readonly entries: readonly Entry[] }
  /** Choice by ModRM.mod: memory, then register. */
  | { readonly by: 'mod'; readonly memory: Entry; readonly register: Entry }
  /** Choice by ModRM.rm, 8 entries. */
  | { readonly by: 'rm'; readonly entries: readonly Entry[] }
  /** Choice by mandatory prefix: none, 66, F3, F2. */
  | { readonly by: 'prefix'; readonly entries: readonly [Entry, Entry, Entry, Entry] }
  /** Choice by REX.W: without, with it. */
  | { readonly by: 'wide'; readonly entries: readonly [Entry, Entry] }
  /** Choice by mode: outside and in 64-bit mode. */
  | { readonly by: 'mode'; readonly legacy: Entry; readonly long: Entry };

export function byReg(...entries: Entry[]): Entry {
  return { by: 'reg', entries };
}

export function byMod(memory: Entry, register: Entry): Entry {
  return { by: 'mod', memory, register };
}

export function byRm(...entries: Entry[]): Entry {
  return { by: 'rm', entries };
}

export function byPrefix(none: Entry, p66: Entry, pF3: Entry, pF2: Entry): Entry {
  return { by: 'prefix', entries: [none, p66, pF3, pF2] };
}

export function byWide(narrow: Entry, wide: Entry): Entry {
  return { by: 'wide', entries: [narrow, wide] };
}

export function byMode(legacy: Entry, long: Entry): Entry {
  return { by: 'mode', legacy, long };
}

/** Whether an entry is a row. */
export function isRow(entry: Entry): entry is Row {
  return entry !== null && 'mnemonic' in entry;
}
