/**
 * Accesses to addresses without memory: the vCPU's own local APIC first, then an exit.
 */
import type { LocalApic } from '../apic/local-apic.js';
import type { MmioPort } from '../mmu/access.js';
import type { ExitPort } from './exits.js';

export class MmioRouter implements MmioPort {
  apic: LocalApic | null = null;
  /** Guest-physical address of the APIC's page, -1: none. */
  apicBase = -1;

  constructor(private readonly exits: ExitPort) {}

  read(gpa: number, data: Uint8Array): void {
    const offset = gpa - this.apicBase;
    if (this.apicBase < 0 || offset < 0 || offset >= 4096 || this.apic === null) {
      this.exits.deliverMmio('read', gpa, data);
      return;
    }
    for (let at = 0; at < data.length; at += 4) {
      const size = Math.min(4, data.length - at);
      const value = this.apic.mmioRead(offset + at, size);
      for (let i = 0; i < size; i++) data[at + i] = value >>> (8 * i);
    }
  }

  write(gpa: number, data: Uint8Array): void {
    const offset = gpa - this.apicBase;
    if (this.apicBase < 0 || offset < 0 || offset >= 4096 || this.apic === null) {
      this.exits.deliverMmio('write', gpa, data);
      return;
    }
    let value = 0;
    for (let i = Math.min(4, data.length) - 1; i >= 0; i--) value = (value << 8) | data[i];
    this.apic.mmioWrite(offset, data.length, value >>> 0);
  }
}
