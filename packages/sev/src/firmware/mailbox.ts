/**
 * The registers through which the host reaches the secure processor: command and response, address
 * of the command buffer, interrupt enable and status, capabilities.
 *
 * The host writes the buffer's address, then the command word: the identifier in 25:16 and, in bit
 * 0, whether an interrupt is to announce the end. The answer stands in the same register: bit 31
 * set, the status in 15:0. Both sets of offsets exist in processors of different years.
 *
 * Known inaccuracy: a command ends within the write that starts it.
 *
 * Source: OpenBSD sys/dev/ic/psp.c and pspvar.h; Linux drivers/crypto/ccp/sp-pci.c, sev-dev.c.
 */
import type { SecureProcessor } from './secure-processor.js';

/** Byte offsets into the processor's BAR. */
export interface MailboxOffsets {
  readonly CMDRESP: number;
  readonly ADDRLO: number;
  readonly ADDRHI: number;
  readonly INTEN: number;
  readonly INTSTS: number;
  readonly CAP: number;
}

export const MAILBOX_OFFSETS = {
  v1: {
    CMDRESP: 0x10580,
    ADDRLO: 0x105e0,
    ADDRHI: 0x105e4,
    INTEN: 0x10610,
    INTSTS: 0x10614,
    CAP: 0x105fc,
  },
  v2: {
    CMDRESP: 0x10980,
    ADDRLO: 0x109e0,
    ADDRHI: 0x109e4,
    INTEN: 0x10690,
    INTSTS: 0x10694,
    CAP: 0x109fc,
  },
} as const satisfies Record<string, MailboxOffsets>;

export type MailboxVersion = keyof typeof MAILBOX_OFFSETS;

/** CMDRESP: an interrupt is wanted; the answer is there. */
export const CMD_IOC = 1 << 0;
export const CMD_SHIFT = 16;
export const CMD_MASK = 0x3ff;
export const RESPONSE = 0x8000_0000;
export const STATUS_MASK = 0xffff;
/** INTEN and INTSTS: a command has ended. */
export const INT_CMD_DONE = 1 << 1;
/** CAP: SEV commands are taken. */
export const CAP_SEV = 1 << 0;

export interface MailboxPorts {
  /** Level of the interrupt line. */
  interrupt(raised: boolean): void;
}

export interface MailboxState {
  cmdresp: number;
  addrlo: number;
  addrhi: number;
  inten: number;
  intsts: number;
}

type Register = keyof MailboxOffsets;

export class Mailbox {
  readonly #registers: ReadonlyMap<number, Register>;
  readonly state: MailboxState = { cmdresp: 0, addrlo: 0, addrhi: 0, inten: 0, intsts: 0 };

  constructor(
    readonly processor: SecureProcessor,
    readonly version: MailboxVersion = 'v2',
    readonly ports: MailboxPorts = { interrupt: () => {} },
  ) {
    const offsets = Object.entries(MAILBOX_OFFSETS[version]) as [Register, number][];
    this.#registers = new Map(offsets.map(([name, offset]) => [offset, name]));
  }

  /** The 32 bits at `offset` of the BAR; zero where there is no register. */
  read32(offset: number): number {
    const { cmdresp, addrlo, addrhi, inten, intsts } = this.state;
    switch (this.#registers.get(offset)) {
      case 'CMDRESP':
        return cmdresp;
      case 'ADDRLO':
        return addrlo;
      case 'ADDRHI':
        return addrhi;
      case 'INTEN':
        return inten;
      case 'INTSTS':
        return intsts;
      case 'CAP':
        return CAP_SEV;
      default:
        return 0;
    }
  }

  /** Writes 32 bits; ignored where there is no register, and for CAP. */
  write32(offset: number, value: number): void {
    const { state } = this;
    switch (this.#registers.get(offset)) {
      case 'CMDRESP':
        this.#command(value >>> 0);
        break;
      case 'ADDRLO':
        state.addrlo = value >>> 0;
        break;
      case 'ADDRHI':
        state.addrhi = value >>> 0;
        break;
      case 'INTEN':
        state.inten = value >>> 0;
        break;
      case 'INTSTS':
        state.intsts = (state.intsts & ~value) >>> 0;
        break;
      default:
        return;
    }
    this.ports.interrupt((state.inten & state.intsts) !== 0);
  }

  #command(word: number): void {
    const { state } = this;
    // The bit is the processor's: a word with it set starts nothing.
    if ((word & RESPONSE) !== 0) return;
    const status = this.processor.command(
      (word >>> CMD_SHIFT) & CMD_MASK,
      state.addrlo + state.addrhi * 2 ** 32,
    );
    state.cmdresp = (RESPONSE | (word & ~STATUS_MASK) | status) >>> 0;
    if ((word & CMD_IOC) !== 0) state.intsts |= INT_CMD_DONE;
  }
}
