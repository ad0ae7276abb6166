/**
 * An emulated secure processor with its mailbox and the driver of a host, put together.
 */
import type { AsidLimits } from '../firmware/asids.js';
import { HostMemory, withHostMemory } from '../firmware/host-memory.js';
import { Mailbox } from '../firmware/mailbox.js';
import type { PlatformMemory } from '../firmware/memory-port.js';
import {
  DEFAULT_ASIDS,
  SecureProcessor,
  type SecureProcessorParts,
} from '../firmware/secure-processor.js';
import { AsidPool } from './asid-pool.js';
import { PspDriver } from './driver.js';
import { mailboxTransport, type PspTransport } from './mailbox-transport.js';

export interface EmulatedPsp {
  readonly processor: SecureProcessor;
  readonly mailbox: Mailbox;
  readonly transport: PspTransport;
  readonly driver: PspDriver;
  readonly asids: AsidPool;
  readonly limits: AsidLimits;
}

/** Memory of the host's own for its driver: a trusted region for SEV-ES, and what commands need. */
const HOST_MEMORY = 0x20_0000;

/** `parts.memory` is the guests'. */
export function emulatedPsp(parts: SecureProcessorParts): EmulatedPsp {
  const host = new HostMemory(HOST_MEMORY);
  const memory: PlatformMemory = withHostMemory(parts.memory, host);
  const processor = new SecureProcessor({ ...parts, memory });
  const mailbox = new Mailbox(processor);
  const wbinvd = () => processor.wbinvd();
  const transport = mailboxTransport({ registers: mailbox, host, wbinvd });
  const driver = new PspDriver(transport);
  const limits = parts.asids ?? DEFAULT_ASIDS;
  const asids = new AsidPool(limits, () => driver.dfFlush());
  return { processor, mailbox, transport, driver, asids, limits };
}
