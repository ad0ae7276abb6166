/**
 * The forms of the instruction table: every row of the opcode maps with each operand size and each
 * kind of operand (register or memory) that it can have in some mode.
 */
import type { Decoded } from '../../packages/backend-emu/src/decode/decoded.js';
import type { Row } from '../../packages/backend-emu/src/isa/table/row.js';
import { encodings } from '../native-oracle/encodings.js';
import { kinds, nameOf, nativeForms, sizes } from '../native-oracle/forms.js';
import { FULL_HOST } from '../native-oracle/host.js';
import type { Bits } from '../native-oracle/user-state.js';

export interface TableForm {
  /** Mnemonic and operands, then the opcode in brackets. */
  readonly row: string;
  /** Operand size in bits. */
  readonly size: number;
  readonly memory: boolean;
}

const MODES: readonly Bits[] = [64, 32, 16];

/** A text that names the form, unique. */
export function formText({ row, size, memory }: TableForm): string {
  return `${row} ${size}${memory ? ' memory' : ''}`;
}

export class TableForms {
  readonly forms = new Map<string, TableForm>();
  /** Texts of the forms that the native oracle compares, on a host that has them. */
  readonly native = new Set<string>();
  readonly #rows = new Map<Row, { readonly name: string; readonly kinds: readonly boolean[] }>();

  constructor() {
    for (const bits of MODES) {
      for (const encoding of encodings(bits)) {
        const { row } = encoding;
        // Rows that are undefined in a mode have no form there.
        if (row.flags.has(bits === 64 ? 'i64' : 'o64')) continue;
        let known = this.#rows.get(row);
        if (known === undefined) {
          known = { name: nameOf(encoding), kinds: kinds(encoding) };
          this.#rows.set(row, known);
        }
        for (const size of sizes(encoding, bits)) {
          for (const memory of known.kinds) this.#add({ row: known.name, size, memory });
        }
      }
      for (const { encoding, size, memory } of nativeForms(bits, FULL_HOST).forms) {
        const row = this.#rows.get(encoding.row)?.name;
        if (row === undefined) continue;
        const text = formText({ row, size, memory });
        if (this.forms.has(text)) this.native.add(text);
      }
    }
  }

  #add(form: TableForm): void {
    const text = formText(form);
    if (!this.forms.has(text)) this.forms.set(text, form);
  }

  /** The form of a decoded instruction; null for what is in no opcode map. */
  of({ row, info }: Decoded): string | null {
    const known = this.#rows.get(row);
    if (known === undefined) return null;
    const memory = known.kinds.length === 2 ? info.hasMemory : known.kinds[0];
    const text = formText({ row: known.name, size: info.form.size, memory });
    return this.forms.has(text) ? text : null;
  }
}
