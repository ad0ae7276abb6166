/**
 * A CPU extension for tests that is not SEV: it works as Intel's TDX does, as far as the interface
 * is concerned. What is shared, a bit of the guest-physical address says; what the guest may not do
 * by itself is #VE with an information record; a module between guest and host answers some exits
 * by itself, and keeps the registers in a page of the guest's private memory.
 *
 * Source: Intel TDX module specification (344425), "TD-VMCALL", "TDCALL" leaves, "#VE"; Intel SDM
 * vol. 3, table 6-5 (#VE counts as a page fault). Inaccuracies: no measurement, no page acceptance,
 * a cipher that only garbles, and the few TDCALL leaves and sub-functions below.
 */
import type {
  CpuExtension,
  CpuidValue,
  FillRequest,
  FillVerdict,
  SystemMemory,
} from '../interfaces/cpu-extension.js';
import type { ExtensionVcpu } from '../interfaces/extension-vcpu.js';
import type { InterceptDetail, InterceptName, InterceptVerdict } from '../interfaces/intercepts.js';
import { REGISTER_WINDOW_SIZE } from '../interfaces/register-window.js';
import type { Snapshot } from '../interfaces/snapshot.js';
import type { VcpuState } from '../interfaces/vcpu-state.js';

const SHARED_BIT = 47;
const SHARED_HI = 1 << (SHARED_BIT - 32);
const KEY = 1;
const PAGE = 4096;
const [VECTOR_DF, VECTOR_VE] = [8, 20];
const [RAX, RCX, RDX, R8, R9, R10, R11, R12, R13, R14, R15] = [
  0, 1, 2, 8, 9, 10, 11, 12, 13, 14, 15,
];
const RESUME: InterceptVerdict = { kind: 'resume' };
const PROCEED: InterceptVerdict = { kind: 'proceed' };
const INVALID_OPERAND = 0xc0000100;
/** Exit reasons (Intel SDM vol. 3, appendix C): codes in the record and sub-functions of VMCALL. */
const REASON = { cpuid: 10, hlt: 12, io: 30, rdmsr: 31, wrmsr: 32, ept: 48 } as const;
/** What the guest may do to its local APIC without the host. */
const isNative = (index: number) => index === 0x1b || (index >= 0x800 && index <= 0x8ff);

/** What TDG.VP.VEINFO.GET tells of the last #VE. */
interface Information {
  readonly reason: number;
  readonly qualification: number;
  readonly linear: readonly [lo: number, hi: number];
  readonly gpa: readonly [lo: number, hi: number];
  readonly length: number;
}

export interface TrustDomainOptions {
  /** Registers that the guest starts with. */
  readonly initial: VcpuState;
  /** Guest-physical address of the page that keeps the registers meanwhile. */
  readonly saveArea: number;
}

/** One guest's, with one vCPU. */
export class TrustDomain implements CpuExtension {
  readonly name = 'trust-domain';
  readonly tableBits = [SHARED_BIT];
  readonly lastingVerdicts = true;
  readonly registersHidden = true;
  readonly instructions = ['TDCALL'];
  readonly intercepts: readonly InterceptName[] = ['cpuid', 'hlt', 'io', 'msr', 'vmmcall'];
  /** Leaves that went to the host, and those that the module has answered. */
  readonly calls = { host: [] as number[], module: [] as number[] };
  readonly cipher = { encrypt: garble, decrypt: garble };
  #memory!: SystemMemory;
  #started = false;
  #information: Information | null = null;
  readonly #window = new Uint8Array(REGISTER_WINDOW_SIZE);

  constructor(private readonly options: TrustDomainOptions) {}

  attach(memory: SystemMemory): void {
    this.#memory = memory;
  }

  /** Puts bytes, within a page, into the guest's private memory before it starts. */
  add(gpa: number, bytes: Uint8Array): void {
    this.#memory.write(this.#memory.locate(gpa) + (gpa % PAGE), bytes, KEY);
  }

  // --- Memory ---------------------------------------------------------------------------------

  fill(request: FillRequest): FillVerdict {
    const { gpaLo, gpaHi, access, implicit } = request;
    const shared = !implicit && (gpaHi & SHARED_HI) !== 0;
    const gpa = (gpaHi & ~SHARED_HI) * 2 ** 32 + gpaLo;
    const spa = this.#memory.locate(gpa);
    if (spa >= 0 && !(shared && access === 'execute')) {
      return { kind: 'page', gpa, spa, permissions: shared ? 3 : 7, keyTag: shared ? 0 : KEY };
    }
    const qualification = access === 'write' ? 2 : access === 'execute' ? 4 : 1;
    const offset = access === 'walk' ? 0 : request.linearLo & (PAGE - 1);
    return this.#exception({
      ...{ reason: REASON.ept, qualification, length: 0 },
      gpa: [gpaLo + offset, gpaHi & ~SHARED_HI],
      linear: [request.linearLo, request.linearHi],
    });
  }

  /** #VE; a double fault while the last one's information has not been fetched. */
  #exception(information: Information) {
    const nested = this.#information !== null;
    if (!nested) this.#information = information;
    const exception = nested
      ? { vector: VECTOR_DF, errorCode: 0 }
      : ({ vector: VECTOR_VE, errorCode: null, class: 'page-fault' } as const);
    return { kind: 'exception', exception } as const;
  }

  // --- Entering and leaving -------------------------------------------------------------------

  enter(vcpu: ExtensionVcpu): null {
    if (this.#started) this.#load(vcpu);
    else vcpu.writeState(this.options.initial);
    this.#started = true;
    vcpu.setIntercepts(new Set(this.intercepts));
    return null;
  }

  leave(vcpu: ExtensionVcpu): void {
    this.#save(vcpu);
  }

  #save(vcpu: ExtensionVcpu): void {
    vcpu.saveRegisters(this.#window);
    this.#memory.write(this.#memory.locate(this.options.saveArea), this.#window, KEY);
    this.#window.fill(0);
    vcpu.clearRegisters();
  }

  #load(vcpu: ExtensionVcpu): void {
    this.#memory.read(this.#memory.locate(this.options.saveArea), this.#window, KEY);
    vcpu.loadRegisters(this.#window);
    this.#window.fill(0);
  }

  /** The module posts interrupts by itself. A guest that halts with IF clear only wakes. */
  interrupt(vcpu: ExtensionVcpu): void {
    if (!vcpu.interruptFlag) vcpu.run();
    else vcpu.inject({ vector: vcpu.acknowledge(), type: 'interrupt', errorCode: null });
  }

  snapshot(): Snapshot {
    const information = this.#information === null ? null : { ...this.#information };
    return { type: 'trust-domain', version: 1, state: { started: this.#started, information } };
  }

  restore({ state }: Snapshot): void {
    const saved = state as { started: boolean; information: Information | null };
    this.#started = saved.started;
    this.#information = saved.information;
  }

  // --- Exits ----------------------------------------------------------------------------------

  intercept(event: InterceptName, vcpu: ExtensionVcpu, detail: InterceptDetail): InterceptVerdict {
    const { length, number, direction, size } = detail;
    const reads = direction === 'read';
    switch (event) {
      case 'cpuid':
        return this.#moduleCpuid(vcpu) ? RESUME : this.#refuse(REASON.cpuid, 0, length);
      case 'hlt':
        return this.#refuse(REASON.hlt, 0, length);
      case 'io': {
        const form = (detail.string ? 16 : 0) | (detail.repeated ? 32 : 0) | (reads ? 8 : 0);
        return this.#refuse(REASON.io, (size - 1) | form | (number << 16), length);
      }
      case 'msr':
        if (isNative(number)) return PROCEED;
        return this.#refuse(reads ? REASON.rdmsr : REASON.wrmsr, 0, length);
      default:
        return { kind: 'exception', exception: { vector: 6, errorCode: null } };
    }
  }

  #refuse(reason: number, qualification: number, length: number): InterceptVerdict {
    return this.#exception({ reason, qualification, linear: [0, 0], gpa: [0, 0], length });
  }

  /** Leaf 0x21 names the module: it needs no host. */
  #moduleCpuid({ gpr }: ExtensionVcpu): boolean {
    if (gpr[2 * RAX] !== 0x21) return false;
    // EAX, ECX, EDX, EBX: "IntelTDX    ".
    for (const [at, word] of [0, 0x20202020, 0x5844546c, 0x65746e49].entries()) {
      gpr[2 * at] = word;
      gpr[2 * at + 1] = 0;
    }
    return true;
  }

  execute(_mnemonic: string, vcpu: ExtensionVcpu): InterceptVerdict {
    const { gpr } = vcpu;
    const leaf = gpr[2 * RAX]!;
    (leaf === 0 ? this.calls.host : this.calls.module).push(leaf === 0 ? gpr[2 * R11]! : leaf);
    vcpu.complete();
    let status = 0;
    if (leaf === 0) this.#callHost(vcpu);
    else if (leaf === 1) set(gpr, RCX, SHARED_BIT + 1);
    else if (leaf === 3 && this.#information !== null) this.#tell(gpr, this.#information);
    else status = INVALID_OPERAND;
    set(gpr, RAX, 0, status);
    return RESUME;
  }

  /** TDG.VP.VEINFO.GET. */
  #tell(gpr: Uint32Array, { reason, qualification, linear, gpa, length }: Information): void {
    set(gpr, RCX, reason);
    set(gpr, RDX, qualification);
    set(gpr, R8, ...linear);
    set(gpr, R9, ...gpa);
    set(gpr, R10, length);
    this.#information = null;
  }

  /** TDG.VP.VMCALL: the host sees R10 to R15 of the guest, and nothing else. */
  #callHost(vcpu: ExtensionVcpu): void {
    const passed = vcpu.gpr.slice(2 * R10, 2 * R15 + 2);
    const word = (register: number) => passed[2 * (register - R10)]!;
    this.#save(vcpu);
    const answers = answer(vcpu, word(R11), [word(R12), word(R13), word(R14), word(R15)]);
    const halts = word(R11) === REASON.hlt;
    this.#load(vcpu);
    const { gpr } = vcpu;
    set(gpr, R10, answers === null ? INVALID_OPERAND : 0);
    for (const [at, value] of (answers ?? []).entries()) set(gpr, R11 + at, value);
    if (halts) vcpu.halt(true);
  }
}

/** The host's side of a call: what R11 and the following become, or null. */
function answer(
  { host, index }: ExtensionVcpu,
  reason: number,
  [a, b, c, d]: readonly [number, number, number, number],
): number[] | null {
  const data = new Uint8Array(a === 1 || a === 2 || a === 4 ? a : 4);
  const view = new DataView(new ArrayBuffer(4));
  const leaf: CpuidValue = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const bytes = new Uint8Array(view.buffer);
  view.setUint32(0, d, true);
  if (b === 1) data.set(bytes.subarray(0, data.length));
  switch (reason) {
    case REASON.cpuid:
      host.cpuid(a, b, { cr4: 0, xcr0: 1 }, leaf);
      return [0, leaf.eax, leaf.ebx, leaf.ecx, leaf.edx];
    case REASON.hlt:
      host.deliver({ kind: 'hlt', vcpu: index, instructions: 0, interruptible: a === 0 });
      return [0];
    case REASON.io:
      host.io(b === 1 ? 'out' : 'in', c & 0xffff, data.length, 1, data);
      break;
    case REASON.ept:
      host.mmio(b === 1 ? 'write' : 'read', c, data);
      break;
    default:
      return null;
  }
  bytes.fill(0);
  bytes.set(data);
  return [view.getUint32(0, true)];
}

function set(gpr: Uint32Array, register: number, lo: number, hi = 0): void {
  gpr[2 * register] = lo;
  gpr[2 * register + 1] = hi;
}

/** Its own inverse; differs by address. */
function garble(_key: number, spa: number, frames: Uint8Array): void {
  for (let at = 0; at < frames.length; at++) frames[at]! ^= 0xa5 ^ (at * 7) ^ ((spa + at) / PAGE);
}
