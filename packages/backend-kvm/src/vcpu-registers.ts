/**
 * A vCPU's registers as core sees them: in the page that KVM shares while handlers look at them at
 * exits (KVM_CAP_SYNC_REGS), else by ioctls.
 *
 * Source: Documentation/virt/kvm/api.rst (KVM_GET_REGS, KVM_GET_SREGS, kvm_valid_regs).
 */
import type { VcpuState } from '@cloister/core';
import { SYNC } from './abi/constants.js';
import { offsetOf, type Struct, StructView } from './abi/struct.js';
import { REGS, RUN, SREGS, SYNC_REGS } from './abi/structs.js';
import { fromState, registerStructs, toState } from './registers.js';
import type { RunPage } from './run-page.js';
import { ioctl } from './sys/sys.js';
import type { VcpuPorts } from './vcpu-ports.js';

/** Exits without a look at the registers after which they are no longer kept in the page. */
const PATIENCE = 256;
const ALL = SYNC.REGS | SYNC.SREGS | SYNC.EVENTS;
const SYNC_AT = offsetOf(RUN, 's');

export class VcpuRegisters {
  private readonly structs;
  private readonly shared: { readonly regs: StructView; readonly sregs: StructView };
  /** Exits since the registers in the page were last looked at. */
  private unread = 0;
  /** Whether KVM keeps the registers in the page. */
  kept = false;
  /** Whether the page holds those of the exit under way. */
  private current = false;

  constructor(
    private readonly fd: number,
    private readonly page: RunPage,
    private readonly ports: VcpuPorts,
  ) {
    this.structs = registerStructs(ports.xsave);
    const view = (type: Struct, field: string) =>
      new StructView(type, page.memory, SYNC_AT + offsetOf(SYNC_REGS, field));
    this.shared = { regs: view(REGS, 'regs'), sregs: view(SREGS, 'sregs') };
  }

  /** An exit, with its registers in the page (`kept`); stops asking when nobody looks. */
  exited(): void {
    this.current = true;
    if (++this.unread >= PATIENCE) this.forget();
  }

  /** What the page holds is not, or no longer, the vCPU's. */
  stale(): void {
    this.current = false;
  }

  /** As `stale`, and nothing is kept there until somebody looks again. */
  forget(): void {
    this.current = false;
    this.unread = 0;
    this.keep(false);
  }

  private keep(on: boolean): void {
    this.kept = on;
    this.page.syncValid = on ? ALL : 0;
  }

  /** `inRun`: a handler asks, and may ask at the next exit again. */
  read(inRun: boolean): VcpuState {
    this.ports.requireReadable();
    const { sys } = this.ports;
    const { debug, xcrs } = this.structs;
    ioctl(sys, this.fd, 'GET_DEBUGREGS', debug.bytes);
    if (xcrs !== null) ioctl(sys, this.fd, 'GET_XCRS', xcrs.bytes);
    if (inRun && this.current) {
      this.unread = 0;
      return toState({ ...this.shared, debug, xcrs });
    }
    if (inRun && this.ports.syncRegs) this.keep(true);
    this.fetch();
    return toState(this.structs);
  }

  write(state: VcpuState): void {
    this.ports.requireReadable();
    const { sys } = this.ports;
    const { regs, sregs, debug, xcrs } = this.structs;
    this.fetch();
    ioctl(sys, this.fd, 'GET_DEBUGREGS', debug.bytes);
    fromState(state, this.structs);
    if (xcrs !== null) ioctl(sys, this.fd, 'SET_XCRS', xcrs.bytes);
    ioctl(sys, this.fd, 'SET_SREGS', sregs.bytes);
    ioctl(sys, this.fd, 'SET_REGS', regs.bytes);
    ioctl(sys, this.fd, 'SET_DEBUGREGS', debug.bytes);
    this.forget();
  }

  private fetch(): void {
    const { sys } = this.ports;
    ioctl(sys, this.fd, 'GET_REGS', this.structs.regs.bytes);
    ioctl(sys, this.fd, 'GET_SREGS', this.structs.sregs.bytes);
  }
}
