/**
 * Memory of a protected VM that this process cannot see: a guest_memfd for each slot that may be
 * private, and which pages are. A page is taken from there while it is private, else from the
 * memory file.
 *
 * Source: Documentation/virt/kvm/api.rst (KVM_CREATE_GUEST_MEMFD, KVM_SET_USER_MEMORY_REGION2,
 * KVM_SET_MEMORY_ATTRIBUTES); Linux 6.8 and later.
 */
import { type MemorySlot, VmmError } from '@cloister/core';
import { MEMORY_ATTRIBUTE } from './abi/constants.js';
import { NR } from './abi/linux.js';
import { make } from './abi/struct.js';
import { CREATE_GUEST_MEMFD, MEMORY_ATTRIBUTES } from './abi/structs.js';
import { punchHole } from './mapping.js';
import { ioctl, type Sys } from './sys/sys.js';

/** Marks pages private or shared: whole pages, whatever slots they are of. */
export function setPrivate(
  sys: Sys,
  vmFd: number,
  gpa: number,
  length: number,
  isPrivate: boolean,
): void {
  const attributes = isPrivate ? MEMORY_ATTRIBUTE.PRIVATE : 0;
  const range = make(MEMORY_ATTRIBUTES, { address: gpa, size: length, attributes });
  ioctl(sys, vmFd, 'SET_MEMORY_ATTRIBUTES', range.bytes);
}

export class PrivateMemory {
  /** Descriptors by slot. */
  private readonly files = new Map<number, { readonly slot: MemorySlot; readonly fd: number }>();

  constructor(
    private readonly sys: Sys,
    private readonly vmFd: number,
  ) {}

  /** The descriptor of a new slot; null for one that is always shared. */
  open(slot: MemorySlot): number | null {
    if (!slot.encryptable) return null;
    const request = make(CREATE_GUEST_MEMFD, { size: slot.size });
    const fd = ioctl(this.sys, this.vmFd, 'CREATE_GUEST_MEMFD', request.bytes);
    this.files.set(slot.id, { slot, fd });
    return fd;
  }

  /** Of a slot; null where it has none. */
  fileOf(slot: MemorySlot): number | null {
    return this.files.get(slot.id)?.fd ?? null;
  }

  close(id: number): void {
    const file = this.files.get(id);
    if (file === undefined) return;
    this.files.delete(id);
    this.sys.syscall(NR.close, file.fd);
  }

  /** What was private is given back to the host as it becomes shared. */
  convert(gpa: number, length: number, to: 'private' | 'shared'): void {
    setPrivate(this.sys, this.vmFd, gpa, length, to === 'private');
    if (to === 'private' || this.free(gpa, length)) return;
    const text = `private memory at 0x${gpa.toString(16)} cannot be freed`;
    throw new VmmError('io-failed', text);
  }

  /** Gives the host back what private pages hold; false when the kernel refuses. */
  free(gpa: number, length: number): boolean {
    let freed = true;
    for (const { slot, fd } of this.files.values()) {
      const from = Math.max(gpa, slot.gpa);
      const end = Math.min(gpa + length, slot.gpa + slot.size);
      if (from < end && !punchHole(this.sys, fd, from - slot.gpa, end - from)) freed = false;
    }
    return freed;
  }

  dispose(): void {
    for (const id of [...this.files.keys()]) this.close(id);
  }
}
