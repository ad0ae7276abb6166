/**
 * The commands about one guest as KVM passes them on, through `NativeVmControl`: the VM is the
 * guest, KVM keeps its handle and ASID, and guest memory is named by guest-physical address.
 *
 * Source: Linux Documentation/virt/kvm/x86/amd-memory-encryption.rst.
 */
import { type EncryptAttachment, type NativeVmControl, VmmError } from '@cloister/core';
import { make, offsetOf, type StructView } from '@cloister/core/abi';
import { GUEST_STATE, type GuestStateName, SIZE } from '../abi/commands.js';
import { sized } from '../bytes.js';
import {
  SEV_ATTESTATION_REPORT,
  SEV_COMMAND,
  SEV_COMMAND_SINCE_6_10,
  SEV_GUEST_STATUS,
  SEV_INIT,
  SEV_LAUNCH_MEASURE,
  SEV_LAUNCH_SECRET,
  SEV_LAUNCH_START,
  SEV_LAUNCH_UPDATE_DATA,
} from '../kvm/sev-commands.js';
import type { OwnerSession, SevPacket } from './driver.js';
import { expectSuccess } from './error.js';

/** `KVM_X86_…_VM`: types of VMs that KVM_SEV_INIT2 initializes (Linux 6.10 and later). */
export const SEV_VM_TYPE = { DEFAULT: 0, SEV: 2, SEV_ES: 3 } as const;

/** Guest memory within one slot. */
export interface GuestRange {
  readonly gpa: number;
  readonly length: number;
}

/** What the struct's fields are to point to. */
type Blobs = Readonly<Record<string, Uint8Array | GuestRange>>;

export class KvmSevDriver {
  constructor(private readonly control: NativeVmControl) {}

  /**
   * KVM_SEV_INIT2 for a VM of a type of its own, KVM_SEV_INIT or KVM_SEV_ES_INIT for a plain one.
   * `VmmError('unsupported')` for a VM of another type.
   */
  init({ es = false }: { readonly es?: boolean } = {}): void {
    const { vmType } = this.control;
    if (vmType === SEV_VM_TYPE.DEFAULT) {
      this.#issue(es ? 'ES_INIT' : 'INIT');
      return;
    }
    if (vmType !== (es ? SEV_VM_TYPE.SEV_ES : SEV_VM_TYPE.SEV)) {
      throw new VmmError('unsupported', `a VM of type ${vmType} takes no ${es ? 'SEV-ES' : 'SEV'}`);
    }
    const status = this.control.memoryEncryptOp(
      SEV_COMMAND_SINCE_6_10.INIT2,
      make(SEV_INIT).bytes,
      [],
    );
    expectSuccess('INIT2', status);
  }

  launchStart({ policy, owner }: { readonly policy: number; readonly owner?: OwnerSession }): void {
    const lengths = owner && {
      dh_len: owner.certificate.length,
      session_len: owner.session.length,
    };
    const blobs: Blobs = owner ? { dh_uaddr: owner.certificate, session_uaddr: owner.session } : {};
    this.#issue('LAUNCH_START', make(SEV_LAUNCH_START, { policy, ...lengths }), blobs);
  }

  /** Encrypts and measures guest memory in place. */
  launchUpdateData(range: GuestRange): void {
    const struct = make(SEV_LAUNCH_UPDATE_DATA, { len: range.length });
    this.#issue('LAUNCH_UPDATE_DATA', struct, { uaddr: range });
  }

  /** Encrypts and measures the states of all vCPUs. */
  launchUpdateVmsa(): void {
    this.#issue('LAUNCH_UPDATE_VMSA');
  }

  launchMeasure(): Uint8Array {
    const measure = new Uint8Array(SIZE.MEASURE);
    const struct = make(SEV_LAUNCH_MEASURE, { len: measure.length });
    this.#issue('LAUNCH_MEASURE', struct, { uaddr: measure });
    return measure;
  }

  /** A secret to guest memory at `gpa`. */
  launchSecret({ header, ciphertext }: SevPacket, gpa: number): void {
    const { length } = ciphertext;
    const lengths = { hdr_len: header.length, guest_len: length, trans_len: length };
    const guest = { gpa, length };
    const blobs = { hdr_uaddr: header, guest_uaddr: guest, trans_uaddr: ciphertext };
    this.#issue('LAUNCH_SECRET', make(SEV_LAUNCH_SECRET, lengths), blobs);
  }

  launchFinish(): void {
    this.#issue('LAUNCH_FINISH');
  }

  guestStatus(): { readonly state: GuestStateName; readonly policy: number } {
    const struct = make(SEV_GUEST_STATUS);
    this.#issue('GUEST_STATUS', struct);
    const names = Object.keys(GUEST_STATE) as GuestStateName[];
    const state = names.find((name) => GUEST_STATE[name] === struct.get('state'))!;
    return { state, policy: struct.get('policy') };
  }

  attestation(nonce: Uint8Array): Uint8Array {
    const report = new Uint8Array(SIZE.ATTESTATION_REPORT);
    const struct = make(SEV_ATTESTATION_REPORT, { len: report.length });
    struct.bytes.set(sized(nonce, 16, 'the nonce'), offsetOf(SEV_ATTESTATION_REPORT, 'mnonce'));
    this.#issue('GET_ATTESTATION_REPORT', struct, { uaddr: report });
    return report;
  }

  /** Memory must not move while it is encrypted for its addresses. */
  registerRegion(gpa: number, length: number): void {
    this.control.registerRegion(gpa, length);
  }

  #issue(name: keyof typeof SEV_COMMAND, struct?: StructView, blobs: Blobs = {}): void {
    const attachments = Object.entries(blobs).map(([field, blob]): EncryptAttachment => {
      const at = offsetOf(struct!.type, field);
      return blob instanceof Uint8Array ? { at, bytes: blob } : { at, ...blob };
    });
    const bytes = struct?.bytes ?? new Uint8Array();
    expectSuccess(name, this.control.memoryEncryptOp(SEV_COMMAND[name], bytes, attachments));
  }
}
