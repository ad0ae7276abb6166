/**
 * Commands through the secure processor's registers, as a kernel's driver issues them: the buffer's
 * address, the command word, then waiting for the response bit.
 *
 * Source: OpenBSD sys/dev/ic/psp.c (psp_attach, ccp_docmd); Linux drivers/crypto/ccp/sev-dev.c.
 */
import { VmmError } from '@cloister/core';
import type { HostMemory } from '../firmware/host-memory.js';
import {
  CAP_SEV,
  CMD_MASK,
  CMD_SHIFT,
  MAILBOX_OFFSETS,
  type MailboxVersion,
  RESPONSE,
  STATUS_MASK,
} from '../firmware/mailbox.js';

/** The BAR: an emulated mailbox, or registers that are mapped. */
export interface MailboxRegisters {
  read32(offset: number): number;
  write32(offset: number, value: number): void;
}

/** How a driver reaches the firmware. */
export interface PspTransport {
  /** Issues a command on the buffer at physical address `spa`; returns the firmware's status. */
  command(id: number, spa: number): number;
  /** Memory that commands can be pointed at. */
  readonly host: HostMemory;
  /** WBINVD on every CPU. */
  wbinvd(): void;
}

export interface MailboxTransportParts {
  readonly registers: MailboxRegisters;
  readonly host: HostMemory;
  readonly wbinvd: () => void;
  readonly version?: MailboxVersion;
  /** How often to look for the response. */
  readonly polls?: number;
}

/** As often as OpenBSD looks while it cannot sleep. */
const POLLS = 400;

/**
 * A transport over the registers. `VmmError('unavailable')` when there is no secure processor that
 * takes SEV commands.
 */
export function mailboxTransport(parts: MailboxTransportParts): PspTransport {
  const { registers, host, wbinvd, version = 'v2', polls = POLLS } = parts;
  const at = MAILBOX_OFFSETS[version];
  if ((registers.read32(at.CAP) & CAP_SEV) === 0) {
    throw new VmmError('unavailable', 'there is no secure processor that takes SEV commands', {
      remedy: 'look for the registers at the other set of offsets (v1, v2)',
    });
  }
  return {
    host,
    wbinvd,
    command: (id, spa) => {
      registers.write32(at.ADDRLO, spa % 2 ** 32);
      registers.write32(at.ADDRHI, Math.floor(spa / 2 ** 32));
      registers.write32(at.CMDRESP, (id & CMD_MASK) << CMD_SHIFT);
      for (let poll = 0; poll < polls; poll++) {
        const word = registers.read32(at.CMDRESP);
        if ((word & RESPONSE) !== 0) return word & STATUS_MASK;
      }
      throw new VmmError('io-failed', `the secure processor does not answer command ${id}`);
    },
  };
}
