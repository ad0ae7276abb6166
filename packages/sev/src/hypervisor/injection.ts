/**
 * What a hypervisor may deliver to a guest whose registers it cannot see: interrupts and NMIs only,
 * an interrupt only while the VMCB's interrupt state says that RFLAGS.IF is set and no shadow is
 * (AMD64 APM vol. 2, 15.35.6 "Interrupt injection restrictions", table B-1). Exceptions are the
 * guest's own affair: a reply in the GHCB asks for one.
 */
import { EVENT_TYPE, EXIT, VMCB } from '../abi/vmcb.js';
import type { HostVcpu } from './hypervisor.js';

const NMI_VECTOR = 2;
const VC_VECTOR = 29;

/** Before VMRUN: EVENTINJ for what waits and may come, a window for what waits and may not. */
export function prepareEvents(vcpu: HostVcpu): void {
  const { vmcb } = vcpu;
  redeliver(vcpu);
  const waits = vcpu.pending !== 'none' && offer(vcpu);
  if (waits !== vmcb.interruptWindow) vmcb.interruptWindow = waits;
}

/** Makes what waits the event, if it may come; whether an interrupt still waits. */
function offer(vcpu: HostVcpu): boolean {
  const { vmcb } = vcpu;
  if (vmcb.event === null && vcpu.pending === 'nmi' && !vmcb.shadow) {
    vcpu.acknowledge();
    vmcb.event = { vector: NMI_VECTOR, type: EVENT_TYPE.NMI, errorCode: null };
    // Until the guest says that its handler is done: IRET tells nobody.
    vcpu.nmiBlocked = true;
  }
  if (vmcb.event === null && vcpu.pending === 'interrupt' && vmcb.interruptible) {
    vmcb.event = { vector: vcpu.acknowledge(), type: EVENT_TYPE.INTERRUPT, errorCode: null };
  }
  return vcpu.pending === 'interrupt';
}

/** An exit in the middle of a delivery: it begins anew. #VC comes by itself again. */
function redeliver({ vmcb }: HostVcpu): void {
  const event = vmcb.interruptedEvent;
  if (event === null) return;
  vmcb.setPair(VMCB.EXITINTINFO, 0, 0);
  const own = event.type === EVENT_TYPE.EXCEPTION && event.vector === VC_VECTOR;
  if (!own && vmcb.event === null && vmcb.exitCode !== EXIT.SHUTDOWN) vmcb.event = event;
}
