/**
 * KVM's ioctl numbers.
 *
 * Source: Linux include/uapi/linux/kvm.h; the encoding is that of asm-generic/ioctl.h: direction
 * (bits 31:30), size of the argument (29:16), type 0xae (15:8), number (7:0).
 */
import type { Struct } from './struct.js';
import * as S from './structs.js';

const KVMIO = 0xae;
const READ = 2;
const WRITE = 1;

function encode(direction: number, number: number, size: number): number {
  return ((direction << 30) | (size << 16) | (KVMIO << 8) | number) >>> 0;
}

const io = (number: number) => encode(0, number, 0);
/** The kernel reads the argument. */
const iow = (number: number, type: Struct) => encode(WRITE, number, type.size);
/** The kernel writes the argument. */
const ior = (number: number, type: Struct) => encode(READ, number, type.size);
const iowr = (number: number, type: Struct) => encode(READ | WRITE, number, type.size);

export const KVM = {
  // The system.
  GET_API_VERSION: io(0x00),
  CREATE_VM: io(0x01),
  GET_MSR_INDEX_LIST: iowr(0x02, S.MSR_LIST),
  CHECK_EXTENSION: io(0x03),
  GET_VCPU_MMAP_SIZE: io(0x04),
  GET_SUPPORTED_CPUID: iowr(0x05, S.CPUID2),
  // A VM.
  CREATE_VCPU: io(0x41),
  GET_DIRTY_LOG: iow(0x42, S.DIRTY_LOG),
  SET_USER_MEMORY_REGION: iow(0x46, S.USERSPACE_MEMORY_REGION),
  SET_TSS_ADDR: io(0x47),
  SET_IDENTITY_MAP_ADDR: encode(WRITE, 0x48, 8),
  CREATE_IRQCHIP: io(0x60),
  IRQ_LINE: iow(0x61, S.IRQ_LEVEL),
  GET_IRQCHIP: iowr(0x62, S.IRQCHIP),
  SET_IRQCHIP: ior(0x63, S.IRQCHIP),
  SET_GSI_ROUTING: iow(0x6a, S.IRQ_ROUTING),
  IRQFD: iow(0x76, S.IRQFD),
  IOEVENTFD: iow(0x79, S.IOEVENTFD),
  SET_CLOCK: iow(0x7b, S.CLOCK_DATA),
  GET_CLOCK: ior(0x7c, S.CLOCK_DATA),
  SIGNAL_MSI: iow(0xa5, S.MSI),
  ENABLE_CAP: iow(0xa3, S.ENABLE_CAP),
  MEMORY_ENCRYPT_OP: encode(READ | WRITE, 0xba, 8),
  MEMORY_ENCRYPT_REG_REGION: ior(0xbb, S.ENC_REGION),
  MEMORY_ENCRYPT_UNREG_REGION: ior(0xbc, S.ENC_REGION),
  RESET_DIRTY_RINGS: io(0xc7),
  // Linux 6.8 and later.
  SET_USER_MEMORY_REGION2: iow(0x49, S.USERSPACE_MEMORY_REGION2),
  SET_MEMORY_ATTRIBUTES: iow(0xd2, S.MEMORY_ATTRIBUTES),
  CREATE_GUEST_MEMFD: iowr(0xd4, S.CREATE_GUEST_MEMFD),
  // A vCPU.
  RUN: io(0x80),
  GET_REGS: ior(0x81, S.REGS),
  SET_REGS: iow(0x82, S.REGS),
  GET_SREGS: ior(0x83, S.SREGS),
  SET_SREGS: iow(0x84, S.SREGS),
  TRANSLATE: iowr(0x85, S.TRANSLATION),
  INTERRUPT: iow(0x86, S.INTERRUPT),
  GET_MSRS: iowr(0x88, S.MSRS),
  SET_MSRS: iow(0x89, S.MSRS),
  SET_SIGNAL_MASK: iow(0x8b, S.SIGNAL_MASK),
  GET_LAPIC: ior(0x8e, S.LAPIC_STATE),
  SET_LAPIC: iow(0x8f, S.LAPIC_STATE),
  SET_CPUID2: iow(0x90, S.CPUID2),
  GET_MP_STATE: ior(0x98, S.MP_STATE),
  SET_MP_STATE: iow(0x99, S.MP_STATE),
  NMI: io(0x9a),
  SET_GUEST_DEBUG: iow(0x9b, S.GUEST_DEBUG),
  GET_VCPU_EVENTS: ior(0x9f, S.VCPU_EVENTS),
  SET_VCPU_EVENTS: iow(0xa0, S.VCPU_EVENTS),
  GET_DEBUGREGS: ior(0xa1, S.DEBUGREGS),
  SET_DEBUGREGS: iow(0xa2, S.DEBUGREGS),
  GET_TSC_KHZ: io(0xa3),
  GET_XSAVE: ior(0xa4, S.XSAVE),
  SET_XSAVE: iow(0xa5, S.XSAVE),
  GET_XCRS: ior(0xa6, S.XCRS),
  SET_XCRS: iow(0xa7, S.XCRS),
} as const;

export type KvmIoctl = keyof typeof KVM;
