/**
 * One exchange through a GHCB. The page is shared: another CPU of the guest may write to it at any
 * moment. So each byte is read once, when the exchange begins, and everything is judged by that
 * copy; the reply is written field by field when it ends.
 */
import type { GuestMemory } from '@cloister/core';
import {
  GHCB,
  GHCB_SAVE_SIZE,
  GHCB_SIZE,
  type GhcbError,
  type GhcbField,
  REPLY,
  validBit,
} from '../abi/ghcb.js';
import { EVENT_TYPE, encodeEvent } from '../abi/vmcb.js';

/** From PROTOCOL_VERSION to the end. */
const TAIL = GHCB.PROTOCOL_VERSION;
const BITMAP_WORDS = 4;

/** Registers that a reply may hold. */
const ANSWERS = ['RAX', 'RCX', 'RDX', 'RBX'] as const satisfies readonly GhcbField[];

export class GhcbPage {
  /** Guest-physical address of the page of this exchange. */
  gpa = 0;
  readonly #bytes = new Uint8Array(GHCB_SIZE);
  readonly #words = new Uint32Array(this.#bytes.buffer);
  readonly #save = this.#bytes.subarray(0, GHCB_SAVE_SIZE);
  readonly #tail = this.#bytes.subarray(TAIL);
  /** The bitmap of the request, and that of the reply, which takes its place in the copy. */
  readonly #requested = new Uint32Array(BITMAP_WORDS);
  readonly #replied = new Uint32Array(this.#bytes.buffer, GHCB.VALID_BITMAP, BITMAP_WORDS);
  readonly #bitmap = this.#bytes.subarray(GHCB.VALID_BITMAP, GHCB.VALID_BITMAP + 16);
  readonly #infos = this.#bytes.subarray(GHCB.SW_EXITINFO1, GHCB.SW_EXITINFO1 + 16);
  readonly #answers = ANSWERS.map((field) => ({
    at: GHCB[field],
    word: validBit(field) >>> 5,
    bit: 1 << (validBit(field) & 31),
    bytes: this.#bytes.subarray(GHCB[field], GHCB[field] + 8),
  }));

  /** Begins an exchange; false where `gpa` has no memory. */
  open(memory: GuestMemory, gpa: number): boolean {
    if (!memory.tryRead(gpa, this.#save) || !memory.tryRead(gpa + TAIL, this.#tail)) return false;
    this.gpa = gpa;
    this.#requested.set(this.#replied);
    this.#replied.fill(0);
    return true;
  }

  get usage(): number {
    return this.#words[GHCB.USAGE / 4]!;
  }

  get version(): number {
    return this.#words[(GHCB.PROTOCOL_VERSION - 2) / 4]! >>> 16;
  }

  /** Whether the guest says that it filled in `field`. */
  has(field: GhcbField): boolean {
    const bit = GHCB[field] >>> 3;
    return (this.#requested[bit >>> 5]! & (1 << (bit & 31))) !== 0;
  }

  hasAll(fields: readonly GhcbField[]): boolean {
    for (let i = 0; i < fields.length; i++) if (!this.has(fields[i]!)) return false;
    return true;
  }

  /** Lower half of a field, 0 where the guest did not fill it in. */
  lo(field: GhcbField): number {
    return this.has(field) ? this.#words[GHCB[field] >>> 2]! : 0;
  }

  hi(field: GhcbField): number {
    return this.has(field) ? this.#words[(GHCB[field] >>> 2) + 1]! : 0;
  }

  /** A field as a number: exact below 2^53. */
  number(field: GhcbField): number {
    if (!this.has(field)) return 0;
    const at = GHCB[field] >>> 2;
    return this.#words[at]! + this.#words[at + 1]! * 2 ** 32;
  }

  /** The byte CPL, which shares its 8 bytes with reserved ones. */
  get cpl(): number {
    return this.has('CPL') ? this.#bytes[GHCB.CPL]! : 0;
  }

  /** Puts a field into the reply. */
  set(field: GhcbField, lo: number, hi = 0): void {
    const at = GHCB[field] >>> 2;
    this.#words[at] = lo;
    this.#words[at + 1] = hi;
    const bit = at >>> 1;
    this.#replied[bit >>> 5]! |= 1 << (bit & 31);
  }

  /** The event was handled; what SW_EXITINFO2 tells is the event's affair. */
  done(info2Lo = 0, info2Hi = 0): void {
    this.#reply(REPLY.OK, info2Lo, info2Hi);
  }

  /** The guest is to raise this exception; it accepts #GP (13) and #UD (6) only. */
  raise(vector: number, errorCode: number | null): void {
    const event = encodeEvent({ vector, type: EVENT_TYPE.EXCEPTION, errorCode });
    this.#reply(REPLY.RAISE, event, errorCode ?? 0);
  }

  /** The request is malformed. */
  refuse(error: GhcbError): void {
    this.#replied.fill(0);
    this.#reply(REPLY.ERROR, error, 0);
  }

  #reply(kind: number, info2Lo: number, info2Hi: number): void {
    this.set('SW_EXITINFO1', kind);
    this.set('SW_EXITINFO2', info2Lo, info2Hi);
  }

  /** Ends the exchange: the guest sees the reply. */
  close(memory: GuestMemory): void {
    for (let i = 0; i < ANSWERS.length; i++) {
      const { at, word, bit, bytes } = this.#answers[i]!;
      if ((this.#replied[word]! & bit) !== 0) memory.tryWrite(this.gpa + at, bytes);
    }
    memory.tryWrite(this.gpa + GHCB.SW_EXITINFO1, this.#infos);
    memory.tryWrite(this.gpa + GHCB.VALID_BITMAP, this.#bitmap);
  }
}
