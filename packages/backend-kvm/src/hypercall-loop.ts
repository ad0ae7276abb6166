/**
 * A hypercall that KVM tries for ever. Where it emulates kernel mode (no hardware virtualization),
 * it writes its own processor's instruction, VMCALL or VMMCALL, over the guest's and tries again,
 * which leads there once more: the guest stands still and makes no exit. It is found by that.
 *
 * Source: Documentation/virt/kvm/api.rst (KVM_TRANSLATE; KVM_X86_QUIRK_FIX_HYPERCALL_INSN).
 */
import { existsSync } from 'node:fs';
import { make, StructView } from './abi/struct.js';
import { REGS, SREGS, TRANSLATION } from './abi/structs.js';
import { type Sys, tryIoctl } from './sys/sys.js';

const MODULES = ['/sys/module/kvm_intel', '/sys/module/kvm_amd'];
/** 0f 01 c1 is VMCALL, 0f 01 d9 VMMCALL. */
const OPCODE = [[0x0f], [0x01], [0xc1, 0xd9]] as const;

/** Whether this host's KVM has no hardware virtualization. */
export const emulatesKernels = (): boolean => !MODULES.some((path) => existsSync(path));

export class HypercallLoop {
  private readonly regs = new StructView(REGS);
  private before: Uint8Array | null = null;

  constructor(
    private readonly sys: Sys,
    private readonly fd: number,
    private readonly read: (gpa: number, target: Uint8Array) => void,
  ) {}

  /** The guest made an exit, or its state was replaced. */
  moved(): void {
    this.before = null;
  }

  /**
   * A run without an exit ended. Where the guest stands, if it stood there with the same registers
   * as one run before, at a hypercall; else null.
   */
  found(): bigint | null {
    const { sys, fd, regs, before } = this;
    if (tryIoctl(sys, fd, 'GET_REGS', regs.bytes) < 0) return null;
    this.before = regs.bytes.slice();
    if (before === null || regs.bytes.some((byte, at) => byte !== before[at])) return null;
    const sregs = new StructView(SREGS);
    if (tryIoctl(sys, fd, 'GET_SREGS', sregs.bytes) < 0) return null;
    const at = sregs.get64('cs.base') + regs.get64('rip');
    const isCall = OPCODE.every((bytes, index) =>
      (bytes as readonly number[]).includes(this.byteAt(at + BigInt(index))),
    );
    return isCall ? at : null;
  }

  /** The byte of the guest at a linear address; -1 where there is none. */
  private byteAt(linear: bigint): number {
    const place = make(TRANSLATION, {});
    place.view.setBigUint64(0, linear, true);
    if (tryIoctl(this.sys, this.fd, 'TRANSLATE', place.bytes) < 0) return -1;
    if (place.get('valid') === 0) return -1;
    const byte = new Uint8Array(1);
    this.read(Number(place.get64('physical_address')), byte);
    return byte[0]!;
  }
}
