/**
 * What an emulated processor gains by SEV: the C-bit, and how a guest finds it.
 *
 * Source: AMD64 APM vol. 2 (24593), 15.34 "Secure encrypted virtualization": a page is private if
 * its entry has the C-bit, and always while the processor fetches instructions or reads page
 * tables, and where the guest cannot say (paging off, 32-bit tables; 15.34.5). The C-bit is not
 * part of the guest-physical address, and it alone is what the guest loses: the reduction that
 * CPUID reports concerns the host's addresses (15.34.6). CPUID Fn8000_001F (vol. 3, E.4.17); MSR
 * SEV_STATUS C001_0131, which cannot be written.
 */
import type {
  CpuExtension,
  CpuidValue,
  FillRequest,
  FillVerdict,
  MsrValue,
  SystemMemory,
} from '@cloister/core';
import type { MemoryController } from './memory-controller.js';

export const MSR_SEV_STATUS = 0xc0010131;
export const CPUID_ENCRYPTION = 0x8000001f;
/** Fn8000_001F EAX. */
const EAX_SEV = 1 << 1;
/** Both views of a page agree without a flush: Linux then flushes no page that it shares. */
const EAX_COHERENT = 1 << 10;
/** SEV_STATUS. */
const STATUS_SEV = 1;
const READ_WRITE_EXECUTE = 7;
const READ_WRITE = 3;
const EXECUTE = 4;
const WRITE = 2;

export interface SevProcessorOptions {
  /** Bit of table entries, 32 to 51. */
  readonly cBit: number;
  /** Number of ASIDs, and the first one of guests without SEV-ES. */
  readonly asids: number;
  readonly firstPlainAsid: number;
  /** The ASID of the guest; asked at each use, since a launch gives it. */
  readonly asid: () => number;
}

/** The two verdicts, used again and again. */
interface Page {
  readonly kind: 'page';
  gpa: number;
  spa: number;
  permissions: number;
  keyTag: number;
}

interface Nothing {
  readonly kind: 'device';
  gpa: number;
}

export class SevProcessor implements CpuExtension {
  readonly name = 'sev';
  readonly msrs = [MSR_SEV_STATUS];
  readonly tableBits: readonly number[];
  /** The guest's ASID stays what it is. */
  readonly lastingVerdicts = true;
  readonly cipher: MemoryController;
  readonly #cBitHi: number;
  readonly #page: Page = { kind: 'page', gpa: 0, spa: 0, permissions: 0, keyTag: 0 };
  readonly #nothing: Nothing = { kind: 'device', gpa: 0 };
  #memory!: SystemMemory;

  constructor(
    controller: MemoryController,
    private readonly options: SevProcessorOptions,
  ) {
    this.cipher = controller;
    this.tableBits = [options.cBit];
    this.#cBitHi = 1 << (options.cBit - 32);
  }

  attach(memory: SystemMemory): void {
    this.#memory = memory;
    this.cipher.attach(memory);
  }

  cpuid(leaf: number, _subleaf: number, value: CpuidValue): void {
    if (leaf !== CPUID_ENCRYPTION) return;
    const { cBit, asids, firstPlainAsid } = this.options;
    value.eax |= EAX_SEV | EAX_COHERENT;
    value.ebx = (value.ebx & ~0x3f) | cBit;
    value.ecx = asids;
    value.edx = firstPlainAsid;
  }

  readMsr(_index: number, value: MsrValue): 'ok' {
    value.lo = STATUS_SEV;
    value.hi = 0;
    return 'ok';
  }

  writeMsr(): 'gp' {
    return 'gp';
  }

  fill(request: FillRequest): FillVerdict {
    const { gpaHi, gpaLo, access, implicit } = request;
    const page = this.#page;
    const number = (gpaHi & ~this.#cBitHi) * 0x100000 + (gpaLo >>> 12);
    const place = this.#memory.place(number);
    if (place < 0) {
      this.#nothing.gpa = number * 4096;
      return this.#nothing;
    }
    const meant = implicit || (gpaHi & this.#cBitHi) !== 0;
    const readOnly = place % 2;
    page.gpa = number * 4096;
    page.spa = place - readOnly;
    if (meant || access === 'execute') {
      page.keyTag = this.options.asid();
      // What a fetch finds in a page mapped as shared is no answer to an access to its data.
      page.permissions = meant ? READ_WRITE_EXECUTE : EXECUTE;
    } else {
      page.keyTag = 0;
      page.permissions = READ_WRITE;
    }
    if (readOnly !== 0) page.permissions &= ~WRITE;
    return page;
  }
}
