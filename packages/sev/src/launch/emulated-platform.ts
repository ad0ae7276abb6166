/**
 * A machine's part that SEV needs and guests never see: the memory controller with its keys, the
 * secure processor that owns them, and the host's driver for it.
 *
 * One platform serves one VM: its memory controller is that of the VM's memory. Whoever holds the
 * object holds the keys, as does this process.
 */
import type { AsidLimits } from '../firmware/asids.js';
import { freshEntropy, seededEntropy } from '../firmware/entropy.js';
import type { Store } from '../firmware/persistent.js';
import { type ChipIdentity, makeChip } from '../firmware/root.js';
import type { PspDriver } from '../psp/driver.js';
import { type EmulatedPsp, emulatedPsp } from '../psp/emulated-psp.js';
import { MemoryController } from '../silicon/memory-controller.js';

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

export class EmulatedPlatform {
  readonly controller = new MemoryController();
  readonly chip: ChipIdentity;
  readonly psp: EmulatedPsp;

  constructor({ seed, chip, flash }: PlatformOptions = {}) {
    const entropy = seed === undefined ? freshEntropy : seededEntropy(seed);
    this.chip = chip ?? makeChip(entropy);
    this.psp = emulatedPsp({
      memory: this.controller,
      chip: this.chip,
      entropy,
      ...(flash !== undefined && { flash }),
    });
  }

  /** Its driver: certificates for owners, and every command. */
  get driver(): PspDriver {
    return this.psp.driver;
  }

  get asids(): AsidLimits {
    return this.psp.limits;
  }

  /** INIT where it is due, with SEV-ES where that is wanted, and every ASID clean afterwards. */
  start(es = false): void {
    if (this.psp.processor.state === 'UNINIT') this.driver.init({ es });
    this.driver.dfFlush();
  }
}
