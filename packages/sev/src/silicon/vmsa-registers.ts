/**
 * A vCPU's registers between the processor and its VMSA: which field of the page is which register,
 * and which pages VMRUN refuses.
 *
 * Source: AMD64 APM vol. 2 (24593), table B-4 (VMSA), 15.5.1 "Canonicalization and consistency
 * checks", 15.35.2 "Enabling SEV-ES".
 *
 * EFER.SVME is set in every VMSA, else VMRUN refuses. Inaccuracy: the guest itself reads it as 0,
 * since no CPU model here has SVM.
 */
import { REGISTER_WINDOW, REGISTER_WINDOW_SIZE, type RegisterName } from '@cloister/core';
import { VMSA, VMSA_USED, type VmsaFieldName } from '../abi/vmsa.js';

/** Fields that the window names otherwise; all others have one name. */
const RENAMED: Readonly<Partial<Record<VmsaFieldName, RegisterName>>> = {
  gPat: 'pat',
  x87Dp: 'fdp',
  x87Ds: 'fds',
  x87Rip: 'fip',
  x87Cs: 'fcs',
  x87Fcw: 'fcw',
  x87Fsw: 'fsw',
  x87Ftw: 'ftw',
  x87Fop: 'fop',
};
const X87_REGISTERS = 8;
const X87_BYTES = 10;
const X87_STRIDE = 16;

/** Places in the page and in the window, by turns: of words, and of the halves that are left. */
const WORDS = new Uint16Array(moves(4));
const HALVES = new Uint16Array(moves(2));

function* moves(unit: 2 | 4): Generator<number> {
  function* piece(at: number, offset: number, size: number): Generator<number> {
    const fits = at % 4 === 0 && offset % 4 === 0 && size % 4 === 0;
    if (fits !== (unit === 4)) return;
    for (let byte = 0; byte < size; byte += unit)
      yield* [(at + byte) / unit, (offset + byte) / unit];
  }
  for (const [name, { at, size }] of Object.entries(VMSA)) {
    const register = RENAMED[name as VmsaFieldName] ?? (name as RegisterName);
    const place = REGISTER_WINDOW[register];
    // CPL is a byte; the rest belongs to no register.
    if (place === undefined || size === 1) continue;
    if (name !== 'x87') yield* piece(at, place.offset, Math.min(size, place.size));
    else {
      for (let i = 0; i < X87_REGISTERS; i++) {
        yield* piece(at + i * X87_BYTES, place.offset + i * X87_STRIDE, X87_BYTES);
      }
    }
  }
}

const EFER = VMSA.efer.at;
const SVME = 1 << 12;
const LME = 1 << 8;
const CPL = VMSA.cpl.at;

/** The registers of one vCPU on their way. */
export class VmsaRegisters {
  /** The page, as far as it is used: what the guest's registers are while it does not run. */
  readonly page = new Uint8Array(VMSA_USED);
  readonly window = new Uint8Array(REGISTER_WINDOW_SIZE);
  readonly #page16 = new Uint16Array(this.page.buffer);
  readonly #page32 = new Uint32Array(this.page.buffer);
  readonly #window16 = new Uint16Array(this.window.buffer);
  readonly #window32 = new Uint32Array(this.window.buffer);

  /** Fills the window from the page; what the page has no place for stays. */
  toWindow(): void {
    const { page, window } = this;
    move(WORDS, 0, this.#page32, 1, this.#window32);
    move(HALVES, 0, this.#page16, 1, this.#window16);
    window[REGISTER_WINDOW.cpl.offset] = page[CPL]!;
    window[REGISTER_WINDOW.efer.offset + 1]! &= ~(SVME >> 8);
  }

  /** Whether the next instruction is in an interrupt shadow: the VMCB has that, not the page. */
  setShadow(shadow: boolean): void {
    this.window[REGISTER_WINDOW.shadow.offset] = shadow ? 1 : 0;
  }

  /** Fills the page from the window. */
  fromWindow(): void {
    const { page, window } = this;
    move(WORDS, 1, this.#window32, 0, this.#page32);
    move(HALVES, 1, this.#window16, 0, this.#page16);
    page[CPL] = window[REGISTER_WINDOW.cpl.offset]!;
    page[EFER + 1]! |= SVME >> 8;
  }

  /** Why VMRUN refuses this page; null: it does not. */
  refusal(): string | null {
    const words = this.#page32;
    const cr0 = words[VMSA.cr0.at / 4]!;
    const cr4 = words[VMSA.cr4.at / 4]!;
    const efer = words[EFER / 4]!;
    const code = this.#page16[VMSA.cs.at / 2 + 1]!;
    const isWide = (at: number) => words[at / 4 + 1] !== 0;
    const paging = (cr0 & CR0_PG) !== 0;
    const long = paging && (efer & LME) !== 0;
    if ((efer & SVME) === 0) return 'EFER.SVME is clear';
    if ((cr0 & CR0_CD) === 0 && (cr0 & CR0_NW) !== 0) return 'CR0.NW is set without CR0.CD';
    if (isWide(VMSA.cr0.at)) return 'CR0 has more than 32 bits';
    if (isWide(VMSA.cr4.at)) return 'CR4 has more than 32 bits';
    if (isWide(VMSA.dr6.at) || isWide(VMSA.dr7.at)) return 'DR6 or DR7 has more than 32 bits';
    if (long && (cr4 & CR4_PAE) === 0) return 'long mode without CR4.PAE';
    if (long && (cr0 & CR0_PE) === 0) return 'long mode without CR0.PE';
    if (long && (code & CS_L) !== 0 && (code & CS_D) !== 0) return 'CS.L and CS.D are set';
    const features = VMSA.sevFeatures.at;
    if (words[features / 4] !== 0 || isWide(features))
      return 'SEV_FEATURES asks for what is not there';
    return null;
  }
}

type Pieces = Uint16Array | Uint32Array;

/** Moves pieces; `from` and `to` say which of a pair of places is whose. */
function move(places: Uint16Array, from: 0 | 1, source: Pieces, to: 0 | 1, target: Pieces): void {
  for (let i = 0; i < places.length; i += 2) target[places[i + to]!] = source[places[i + from]!]!;
}

const CR0_PE = 1 << 0;
const CR0_NW = 1 << 29;
const CR0_CD = 1 << 30;
const CR0_PG = 1 << 31;
const CR4_PAE = 1 << 5;
/** Of the attributes. */
const CS_L = 1 << 9;
const CS_D = 1 << 10;
