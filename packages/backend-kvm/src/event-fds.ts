/**
 * Event file descriptors, by which other threads meet a VM without its vCPUs: `ioeventfd` signals
 * one when the guest writes to a place, `irqfd` raises an interrupt when one is signalled.
 *
 * Source: Documentation/virt/kvm/api.rst (KVM_IOEVENTFD, KVM_IRQFD), eventfd(2).
 */
import { VmmError } from '@cloister/core';
import { IOEVENTFD_FLAG, IRQFD_FLAG } from './abi/constants.js';
import { EFD_CLOEXEC, EFD_NONBLOCK, NR } from './abi/linux.js';
import { make } from './abi/struct.js';
import { IOEVENTFD, IRQFD } from './abi/structs.js';
import type { KvmInterrupts } from './interrupts.js';
import { checked, ioctl, type Sys, tryIoctl } from './sys/sys.js';

/** A place that a guest writes to. */
export interface EventFdPlace {
  readonly space: 'io' | 'mmio';
  readonly address: number;
  /** Bytes of the write: 1, 2, 4 or 8; 0 for any, with `mmio` and no `value`. */
  readonly length: number;
  /** Only writes of this value. */
  readonly value?: bigint;
}

export type InterruptTarget =
  | { readonly gsi: number }
  /** A message, as PCI's MSI. */
  | { readonly address: number; readonly data: number };

/** An event file descriptor with its connection to a VM. */
export interface EventFd {
  /** For any thread of this process: a write of 8 bytes signals, a read of 8 takes the count. */
  readonly fd: number;
  close(): void;
}

/** A new event file descriptor; reads do not block. */
export function eventFd(sys: Sys): number {
  return checked('eventfd', sys.syscall(NR.eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
}

/** Signals `fd` once. */
export function signalEventFd(sys: Sys, fd: number): void {
  checked('cannot signal an eventfd', sys.syscall(NR.write, fd, one(), 8));
}

/** How often `fd` was signalled since the last call. */
export function takeEventFd(sys: Sys, fd: number): number {
  const count = new Uint8Array(8);
  return sys.syscall(NR.read, fd, count, 8) === 8
    ? Number(new DataView(count.buffer).getBigUint64(0, true))
    : 0;
}

function one(): Uint8Array {
  return Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);
}

export class EventFds {
  private readonly open = new Set<EventFd>();

  constructor(
    private readonly sys: Sys,
    private readonly vmFd: number,
    private readonly interrupts: KvmInterrupts,
  ) {}

  /** The guest's write to `place` signals the descriptor and does not exit. */
  doorbell({ space, address, length, value }: EventFdPlace): EventFd {
    const fd = eventFd(this.sys);
    let flags = space === 'io' ? IOEVENTFD_FLAG.PIO : 0;
    if (value !== undefined) flags |= IOEVENTFD_FLAG.DATAMATCH;
    const place = { addr: address, len: length, datamatch: value ?? 0n, fd };
    const add = make(IOEVENTFD, { ...place, flags });
    const remove = make(IOEVENTFD, { ...place, flags: flags | IOEVENTFD_FLAG.DEASSIGN });
    return this.connect(fd, 'IOEVENTFD', add.bytes, remove.bytes);
  }

  /** Signalling the descriptor raises the interrupt: an edge of the GSI, or the message. */
  interrupt(target: InterruptTarget): EventFd {
    if (this.interrupts.kind === 'none' || ('gsi' in target && this.interrupts.kind !== 'kernel')) {
      throw new VmmError('unsupported', 'this VM has no interrupt controller for that', {
        remedy: "use a message with kvm({ irqchip: 'split' }), or kvm({ irqchip: 'kernel' })",
      });
    }
    if ('gsi' in target) return this.irqfd(target.gsi, () => {});
    const { interrupts } = this;
    const gsi = interrupts.addMessageRoute(target.address, target.data);
    return this.irqfd(gsi, () => interrupts.removeMessageRoute(gsi));
  }

  private irqfd(gsi: number, closed: () => void): EventFd {
    try {
      const fd = eventFd(this.sys);
      const add = make(IRQFD, { fd, gsi });
      const remove = make(IRQFD, { fd, gsi, flags: IRQFD_FLAG.DEASSIGN });
      return this.connect(fd, 'IRQFD', add.bytes, remove.bytes, closed);
    } catch (error) {
      closed();
      throw error;
    }
  }

  dispose(): void {
    for (const each of this.open) each.close();
  }

  private connect(
    fd: number,
    name: 'IOEVENTFD' | 'IRQFD',
    add: Uint8Array,
    remove: Uint8Array,
    closed: () => void = () => {},
  ): EventFd {
    const { sys, vmFd } = this;
    try {
      ioctl(sys, vmFd, name, add);
    } catch (error) {
      sys.syscall(NR.close, fd);
      throw error;
    }
    const made: EventFd = {
      fd,
      close: () => {
        if (!this.open.delete(made)) return;
        tryIoctl(sys, vmFd, name, remove);
        sys.syscall(NR.close, fd);
        closed();
      },
    };
    this.open.add(made);
    return made;
  }
}
