/**
 * A guest by hand for tests of the hypervisor: one CPU whose VMCB and GHCB the test fills in, over
 * guest memory with a private page and a ROM, and a machine that notes what reaches it.
 */
import {
  type CpuidGuestState,
  type CpuidValue,
  type ExtensionHost,
  type GuestMemory,
  type MsrValue,
  slotMemory,
  type VmExit,
} from '@cloister/core';
import { GHCB, type GhcbField, IOIO, validBit } from '../abi/ghcb.js';
import { EXIT, INTERRUPT_STATE, VMCB, Vmcb } from '../abi/vmcb.js';
import { viewOf } from '../bytes.js';
import type { HostVcpu, Next } from '../hypervisor/hypervisor.js';
import type { SevHostName } from '../hypervisor/profile.js';
import { SevEsHypervisor } from '../hypervisor/sev-es-hypervisor.js';

const PAGE = 4096;

/** Guest-physical addresses. */
export const AT = {
  ghcb: 0x3000,
  /** Shared memory beside the GHCB. */
  shared: 0x8000,
  /** A page that the host sees as ciphertext. */
  private: 0x10000,
  ramEnd: 0x40000,
  rom: 0xf0000,
  romEnd: 0xf4000,
} as const;

/** What a page of `AT.private` looks like from the host. */
const CIPHER = 0xa5;

function flipped(frame: Uint8Array): Uint8Array {
  for (let at = 0; at < frame.length; at++) frame[at]! ^= CIPHER;
  return frame;
}

/** Memory as a hypervisor may use it: nothing that fails for an address of the guest's choosing. */
export interface BenchMemory {
  readonly host: GuestMemory;
  /** What was written, by address and length; the test empties it. */
  readonly writes: (readonly [gpa: number, length: number])[];
  /** The guest's view, shared pages. */
  readonly bytes: Uint8Array;
}

export function benchMemory(): BenchMemory {
  const bytes = new Uint8Array(AT.ramEnd + AT.romEnd - AT.rom);
  const isPrivate = (offset: number) => offset === AT.private;
  const memory = slotMemory({
    bytes,
    locate: (gpa) => (gpa < AT.ramEnd ? gpa : gpa - AT.rom + AT.ramEnd),
    written: () => {},
    ciphertext: (offset) =>
      isPrivate(offset) ? flipped(bytes.slice(offset, offset + PAGE)) : null,
    storeCiphertext: (offset, frame) => bytes.set(flipped(frame.slice()), offset),
    convert: () => {},
    takeDirty: () => new Uint32Array(0),
  });
  const rest = { encryptable: true };
  memory.addSlot({ id: 0, gpa: 0, size: AT.ramEnd, readOnly: false, name: 'ram', ...rest });
  memory.addSlot({
    id: 1,
    gpa: AT.rom,
    size: AT.romEnd - AT.rom,
    readOnly: true,
    name: 'rom',
    ...rest,
  });
  const writes: (readonly [number, number])[] = [];
  const used = {
    covers: memory.covers.bind(memory),
    tryRead: memory.tryRead.bind(memory),
    tryWrite(gpa: number, source: Uint8Array): boolean {
      writes.push([gpa, source.length]);
      return memory.tryWrite(gpa, source);
    },
  };
  const host = new Proxy<GuestMemory>(memory, {
    get(_target, name) {
      const method = used[name as keyof typeof used];
      if (method === undefined) throw new Error(`the hypervisor used ${String(name)}`);
      return method;
    },
  });
  return { host, writes, bytes };
}

/** One thing that reached the machine, e.g. `out 3f8 1x1 41`. */
export type Reached = string;

const SHOWN = 4096;

const bytesText = (data: Uint8Array) =>
  data.length > SHOWN
    ? `${data.length} bytes`
    : [...data].map((byte) => byte.toString(16).padStart(2, '0')).join('');

/** Answers everything by rule and notes it. */
export class BenchHost implements ExtensionHost {
  readonly reached: Reached[] = [];
  readonly exits: VmExit[] = [];
  /** MSRs that exist. */
  readonly msrs = new Map<number, MsrValue>([[0x1b, { lo: 0xfee00900, hi: 0 }]]);
  #in = 0;

  io(direction: 'in' | 'out', port: number, size: number, count: number, data: Uint8Array): void {
    if (direction === 'in') for (let at = 0; at < data.length; at++) data[at] = ++this.#in;
    this.note(() => `${direction} ${port.toString(16)} ${size}x${count} ${bytesText(data)}`);
  }

  mmio(direction: 'read' | 'write', gpa: number, data: Uint8Array): void {
    if (direction === 'read') for (let at = 0; at < data.length; at++) data[at] = ++this.#in;
    this.note(() => `${direction} ${gpa.toString(16)} ${bytesText(data)}`);
  }

  cpuid(leaf: number, subleaf: number, { cr4, xcr0 }: CpuidGuestState, value: CpuidValue): void {
    this.note(() => `cpuid ${leaf.toString(16)} ${subleaf}`);
    Object.assign(value, { eax: leaf, ebx: subleaf, ecx: cr4, edx: xcr0 });
  }

  readMsr(index: number, value: MsrValue): 'ok' | 'gp' {
    this.note(() => `rdmsr ${index.toString(16)}`);
    const known = this.msrs.get(index);
    if (known === undefined) return 'gp';
    Object.assign(value, known);
    return 'ok';
  }

  writeMsr(index: number, { lo, hi }: MsrValue): 'ok' | 'gp' {
    this.note(() => `wrmsr ${index.toString(16)}`);
    if (!this.msrs.has(index)) return 'gp';
    this.msrs.set(index, { lo, hi });
    return 'ok';
  }

  hypercall(number: number, args: Uint32Array, result: MsrValue): void {
    this.note(() => `hypercall ${number} ${[...args].join(',')}`);
    Object.assign(result, { lo: 7, hi: 0 });
  }

  rdtsc(value: MsrValue): void {
    this.note(() => 'rdtsc');
    Object.assign(value, { lo: 0x1234, hi: 0x56 });
  }

  rdpmc(index: number, value: MsrValue): 'ok' | 'gp' {
    this.note(() => `rdpmc ${index}`);
    Object.assign(value, { lo: 0x99, hi: 0 });
    return index < 4 ? 'ok' : 'gp';
  }

  deliver(exit: VmExit): void {
    this.exits.push(exit);
  }

  /** Kept short in long runs. */
  private note(what: () => Reached): void {
    if (this.reached.length < 1000) this.reached.push(what());
  }
}

/** What waits for a CPU, set by the test. */
export class BenchVcpu implements HostVcpu {
  readonly vmcb = new Vmcb();
  readonly host = new BenchHost();
  readonly interrupts: number[] = [];
  nmis = 0;
  nmiBlocked = false;
  /** Turns that the hypervisor gave the host. */
  yields = 0;

  constructor(
    readonly index: number,
    readonly memory: GuestMemory,
  ) {}

  get pending(): 'none' | 'interrupt' | 'nmi' {
    if (this.nmis > 0 && !this.nmiBlocked) return 'nmi';
    return this.interrupts.length > 0 ? 'interrupt' : 'none';
  }

  yield(): void {
    this.yields++;
  }

  acknowledge(): number {
    if (this.pending === 'nmi') {
      this.nmis--;
      return 2;
    }
    return this.interrupts.shift()!;
  }
}

export type GhcbValues = { readonly [Field in GhcbField]?: bigint };

export interface Request extends GhcbValues {
  /** Fields that the bitmap does not tell of. */
  readonly missing?: readonly GhcbField[];
}

export interface BenchOptions {
  readonly host?: SevHostName;
  readonly ghcbVersion?: 1 | 2;
  readonly apJumpTable?: number;
}

export class HypervisorBench {
  readonly memory = benchMemory();
  readonly hypervisor: SevEsHypervisor;
  readonly vcpu: BenchVcpu;
  readonly #view = viewOf(this.memory.bytes);

  constructor(options: BenchOptions = {}) {
    this.hypervisor = new SevEsHypervisor({ cBit: 51, ...options });
    this.vcpu = new BenchVcpu(0, this.memory.host);
    this.hypervisor.initialize(this.vcpu);
  }

  get host(): BenchHost {
    return this.vcpu.host;
  }

  /** The GHCB MSR. */
  get msr(): bigint {
    const { vmcb } = this.vcpu;
    return (BigInt(vmcb.get(VMCB.GHCB_GPA + 4)) << 32n) | BigInt(vmcb.get(VMCB.GHCB_GPA));
  }

  set msr(value: bigint) {
    const lo = Number(value & 0xffff_ffffn);
    this.vcpu.vmcb.setPair(VMCB.GHCB_GPA, lo, Number(value >> 32n));
  }

  /** VMGEXIT with this value in the MSR. */
  request(msr: bigint): Next {
    this.msr = msr;
    return this.exit(EXIT.VMGEXIT);
  }

  /** Any exit. */
  exit(code: number, info1 = 0n, info2 = 0n): Next {
    const words = [info1, info1 >> 32n, info2, info2 >> 32n];
    const [lo1, hi1, lo2, hi2] = words.map((word) => Number(word & 0xffff_ffffn));
    this.vcpu.vmcb.setExit(code, lo1, hi1, lo2, hi2);
    return this.hypervisor.handleExit(this.vcpu);
  }

  /** Interrupt state of the VMCB. */
  state({ IF = true, shadow = false }: { IF?: boolean; shadow?: boolean }): void {
    const bits = (IF ? INTERRUPT_STATE.GUEST_IF : 0) | (shadow ? INTERRUPT_STATE.SHADOW : 0);
    this.vcpu.vmcb.set(VMCB.INTERRUPT_SHADOW, bits);
  }

  /** Fills the GHCB as a guest does: these fields, and no other one valid. */
  fill({ missing = [], ...values }: Request, at: number = AT.ghcb): void {
    const bitmap = at + GHCB.VALID_BITMAP;
    this.memory.bytes.fill(0, bitmap, bitmap + 16);
    const infos = { SW_EXITINFO1: 0n, SW_EXITINFO2: 0n };
    for (const [name, value] of Object.entries({ ...infos, ...values })) {
      const field = name as GhcbField;
      if (field === 'CPL') this.#view.setUint8(at + GHCB.CPL, Number(value));
      else this.#view.setBigUint64(at + GHCB[field], value, true);
      if (missing.includes(field)) continue;
      const bit = validBit(field);
      this.memory.bytes[bitmap + (bit >>> 3)]! |= 1 << (bit & 7);
    }
  }

  /** VMGEXIT with this event in the GHCB. */
  event(code: number, request: Request = {}): Next {
    this.fill({ SW_EXITCODE: BigInt(code), ...request });
    return this.request(BigInt(AT.ghcb));
  }

  /** A field of the GHCB now. */
  read(field: GhcbField): bigint {
    return this.#view.getBigUint64(AT.ghcb + GHCB[field], true);
  }

  /** The valid fields of the reply, SW_EXITINFO1 and 2 left out. */
  get answered(): Partial<Record<GhcbField, bigint>> {
    const found: Partial<Record<GhcbField, bigint>> = {};
    for (const field of Object.keys(GHCB) as GhcbField[]) {
      if (GHCB[field] >= 0x3f0 || field.startsWith('SW_')) continue;
      const bit = validBit(field);
      const byte = this.memory.bytes[AT.ghcb + GHCB.VALID_BITMAP + (bit >>> 3)]!;
      if ((byte & (1 << (bit & 7))) !== 0) found[field] = this.read(field);
    }
    return found;
  }

  /** SW_EXITINFO1 and 2 of the reply. */
  get reply(): readonly [bigint, bigint] {
    return [this.read('SW_EXITINFO1'), this.read('SW_EXITINFO2')];
  }
}

/** SW_EXITINFO1 of an access to a port. */
export function ioInfo(
  port: number,
  size: 1 | 2 | 4,
  { string = false, rep = false, input = false } = {},
): bigint {
  const bits =
    (port << 16) |
    (size << 4) |
    (string ? IOIO.STRING : 0) |
    (rep ? IOIO.REP : 0) |
    (input ? IOIO.IN : 0);
  return BigInt(bits >>> 0);
}
