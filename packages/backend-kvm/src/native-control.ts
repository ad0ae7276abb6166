/**
 * What protections need of a VM that the kernel runs: encryption commands, regions, attributes.
 * The structs are the caller's; addresses of attachments are put into them here.
 *
 * Source: Documentation/virt/kvm/x86/amd-memory-encryption.rst, api.rst
 * (KVM_MEMORY_ENCRYPT_REG_REGION, KVM_SET_MEMORY_ATTRIBUTES).
 */
import { type EncryptAttachment, type NativeVmControl, VmmError } from '@cloister/core';
import { AT_FDCWD, NR, O_CLOEXEC, O_RDWR } from './abi/linux.js';
import { make } from './abi/struct.js';
import { ENC_REGION, SEV_CMD } from './abi/structs.js';
import { setPrivate } from './private-memory.js';
import { cString, errnoName, ioctl, type Sys, sysError, tryIoctl } from './sys/sys.js';

const SECURE_PROCESSOR = '/dev/sev';

/** Where guest memory lies in this process. */
export interface MemoryPlace {
  readonly address: number;
  locate(gpa: number): number;
}

export class KvmNativeControl implements NativeVmControl {
  private sevFd = -1;

  constructor(
    private readonly sys: Sys,
    private readonly vmFd: number,
    readonly vmType: number,
    readonly vmTypes: number,
    private readonly memory: MemoryPlace,
  ) {}

  memoryEncryptOp(
    id: number,
    struct: Uint8Array,
    attachments: readonly EncryptAttachment[],
  ): number {
    const view = new DataView(struct.buffer, struct.byteOffset, struct.byteLength);
    for (const attachment of attachments) {
      const { at } = attachment;
      if (at < 0 || at + 8 > struct.length) {
        throw new VmmError('invalid-argument', `an attachment's address does not fit at ${at}`);
      }
      view.setBigUint64(at, this.addressOf(attachment), true);
    }
    const data = struct.length === 0 ? 0n : this.sys.addressOf(struct);
    const command = make(SEV_CMD, { id, data, sev_fd: this.secureProcessor() });
    const result = tryIoctl(this.sys, this.vmFd, 'MEMORY_ENCRYPT_OP', command.bytes);
    const firmware = command.get('error');
    if (result >= 0 || firmware !== 0) return firmware;
    const { code } = sysError('', result);
    throw new VmmError(
      code === 'unsupported' || code === 'invalid-argument' ? 'unsupported' : 'io-failed',
      `KVM refuses memory encryption command ${id}: ${errnoName(result)}`,
      { remedy: 'look at cloister probe for the VM types that this host offers' },
    );
  }

  registerRegion(gpa: number, length: number): void {
    ioctl(this.sys, this.vmFd, 'MEMORY_ENCRYPT_REG_REGION', this.region(gpa, length));
  }

  unregisterRegion(gpa: number, length: number): void {
    ioctl(this.sys, this.vmFd, 'MEMORY_ENCRYPT_UNREG_REGION', this.region(gpa, length));
  }

  setPrivate(gpa: number, length: number, isPrivate: boolean): void {
    setPrivate(this.sys, this.vmFd, gpa, length, isPrivate);
  }

  dispose(): void {
    if (this.sevFd >= 0) this.sys.syscall(NR.close, this.sevFd);
    this.sevFd = -1;
  }

  private addressOf(attachment: EncryptAttachment): bigint {
    if ('bytes' in attachment) return this.sys.addressOf(attachment.bytes);
    return BigInt(this.place(attachment.gpa, attachment.length));
  }

  private region(gpa: number, length: number): Uint8Array {
    return make(ENC_REGION, { addr: this.place(gpa, length), size: length }).bytes;
  }

  /** Address in this process of guest memory that lies in one slot. */
  private place(gpa: number, length: number): number {
    const first = this.memory.locate(gpa);
    const last = this.memory.locate(gpa + length - 1);
    if (length <= 0 || first < 0 || last - first !== length - 1) {
      throw new VmmError('invalid-argument', `${gpa}+${length} does not lie in one memory slot`);
    }
    return this.memory.address + first;
  }

  /** Opened with the first command. */
  private secureProcessor(): number {
    if (this.sevFd >= 0) return this.sevFd;
    const path = cString(SECURE_PROCESSOR);
    const fd = this.sys.syscall(NR.openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) {
      throw new VmmError('unsupported', `this host has no usable ${SECURE_PROCESSOR}`, {
        remedy: 'protections of the host need an AMD EPYC with SEV enabled in firmware and kernel',
        cause: sysError(SECURE_PROCESSOR, fd),
      });
    }
    this.sevFd = fd;
    return fd;
  }
}
