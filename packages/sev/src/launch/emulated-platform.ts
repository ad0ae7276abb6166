/**
 * A machine's part that SEV needs and guests never see: the memory controller with its keys, the
 * secure processor that owns them, and memory of the host's for the commands to it.
 *
 * One platform serves one VM: its memory controller is that of the VM's memory. Whoever holds the
 * object holds the keys, as does this process.
 */
import { VmmError } from '@cloister/core';
import { BUFFERS, type BufferedCommand, COMMAND, type CommandName, SIZE } from '../abi/commands.js';
import { STATUS } from '../abi/status.js';
import { decode, encode, type Values } from '../abi/struct.js';
import { freshEntropy, seededEntropy } from '../firmware/entropy.js';
import { HostMemory, withHostMemory } from '../firmware/host-memory.js';
import type { Store } from '../firmware/persistent.js';
import { type ChipIdentity, makeChip } from '../firmware/root.js';
import { DEFAULT_ASIDS, SecureProcessor } from '../firmware/secure-processor.js';
import { MemoryController } from '../silicon/memory-controller.js';

const HOST_MEMORY = 1 << 20;

export interface PlatformOptions {
  /**
   * Makes everything that is random the same in each run: chip, keys, nonces. Whoever knows the
   * seed then knows the keys. Fresh entropy unless given.
   */
  readonly seed?: string;
  /** The chip; a fresh one, or the seed's, unless given. */
  readonly chip?: ChipIdentity;
  /** The platform's persistent storage: owner, PEK, PDH. As long as this object unless given. */
  readonly flash?: Store;
}

type Fields<Name extends BufferedCommand> = Values<(typeof BUFFERS)[Name]['fields']>;

export class EmulatedPlatform {
  readonly controller = new MemoryController();
  readonly processor: SecureProcessor;
  readonly asids = DEFAULT_ASIDS;
  readonly #host = new HostMemory(HOST_MEMORY);

  constructor({ seed, chip, flash }: PlatformOptions = {}) {
    const entropy = seed === undefined ? freshEntropy : seededEntropy(seed);
    this.processor = new SecureProcessor({
      memory: withHostMemory(this.controller, this.#host),
      chip: chip ?? makeChip(entropy),
      entropy,
      asids: this.asids,
      ...(flash !== undefined && { flash }),
    });
  }

  /** INIT where it is due, and every ASID clean afterwards. */
  start(): void {
    if (this.processor.state === 'UNINIT') this.run('INIT', {});
    this.processor.wbinvd();
    this.command('DF_FLUSH', 0);
  }

  /** The platform's PDH certificate and its chain (PEK, OCA, CEK), for owners. */
  exportCertificates(): { readonly pdh: Uint8Array; readonly chain: Uint8Array } {
    if (this.processor.state === 'UNINIT') this.run('INIT', {});
    return this.withBlocks([SIZE.CERTIFICATE, SIZE.CERTIFICATE_CHAIN], (at) => {
      const [pdh, chain] = [at[0]!, at[1]!];
      this.run('PDH_CERT_EXPORT', {
        pdh_cert_paddr: pdh,
        pdh_cert_len: SIZE.CERTIFICATE,
        certs_paddr: chain,
        certs_len: SIZE.CERTIFICATE_CHAIN,
      });
      return {
        pdh: this.view(pdh, SIZE.CERTIFICATE).slice(),
        chain: this.view(chain, SIZE.CERTIFICATE_CHAIN).slice(),
      };
    });
  }

  /** Runs a command; `VmmError('io-failed')` unless it succeeds. Returns its buffer afterwards. */
  run<Name extends BufferedCommand>(name: Name, values: Partial<Fields<Name>>): Fields<Name> {
    const type = BUFFERS[name];
    return this.withBlocks([type.size], ([at]) => {
      const bytes = this.view(at!, type.size);
      bytes.set(encode(type as never, values as never));
      this.command(name, at!);
      return decode(type as never, bytes) as Fields<Name>;
    });
  }

  /** Runs a command whose buffer, if it has one, lies at `spa`. */
  command(name: CommandName, spa: number): void {
    const status = this.processor.command(COMMAND[name], spa);
    if (status === STATUS.SUCCESS) return;
    const found = Object.entries(STATUS).find(([, code]) => code === status);
    const text = found?.[0] ?? `status 0x${status.toString(16)}`;
    throw new VmmError('io-failed', `the secure processor refused ${name}: ${text}`);
  }

  /** Host memory of these sizes for the time of a call. */
  withBlocks<T>(sizes: readonly number[], use: (addresses: readonly number[]) => T): T {
    const blocks = sizes.map((size) => this.#host.allocate(size));
    try {
      return use(blocks);
    } finally {
      for (const block of blocks) this.#host.free(block);
    }
  }

  view(spa: number, length: number): Uint8Array {
    return this.#host.view(spa, length);
  }
}
