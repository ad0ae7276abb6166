/**
 * Control of a VM that the host's kernel runs, as protections need it, without importing a backend.
 *
 * Struct layouts are the kernel's (include/uapi/linux/kvm.h, psp-sev.h), little-endian, encoded by
 * the caller.
 */
export type EncryptAttachment = {
  /** Byte offset in the struct of the u64 that takes the attachment's address. */
  readonly at: number;
} & (
  | {
      /** Memory whose address is written there; the kernel may write to it. */
      readonly bytes: Uint8Array;
    }
  | {
      /** Guest memory, in one slot, whose place in this process is written there. */
      readonly gpa: number;
      readonly length: number;
    }
);

export interface NativeVmControl {
  /** VM type given at creation (KVM_CREATE_VM argument). */
  readonly vmType: number;
  /** VM types the host offers, as a bit mask (KVM_CAP_VM_TYPES). */
  readonly vmTypes: number;
  /**
   * KVM_MEMORY_ENCRYPT_OP with command `id` on `struct` (updated in place). Returns the firmware's
   * error code, 0 for success; a refused ioctl is a `VmmError('unsupported' | 'io-failed')`.
   */
  memoryEncryptOp(
    id: number,
    struct: Uint8Array,
    attachments: readonly EncryptAttachment[],
  ): number;
  /** KVM_MEMORY_ENCRYPT_REG_REGION / UNREG_REGION for a guest-physical range. */
  registerRegion(gpa: number, length: number): void;
  unregisterRegion(gpa: number, length: number): void;
  /** KVM_SET_MEMORY_ATTRIBUTES: marks pages private or shared. */
  setPrivate(gpa: number, length: number, isPrivate: boolean): void;
}
