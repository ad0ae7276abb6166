/**
 * The host's KVM: /dev/kvm opened, its capabilities, what its processor can show a guest.
 */
import { VmmError } from '@cloister/core';
import { CAP, LIMITS } from './abi/constants.js';
import { AT_FDCWD, ERRNO, NR, O_CLOEXEC, O_RDWR } from './abi/linux.js';
import { StructView } from './abi/struct.js';
import { CPUID_ENTRY2, CPUID2, MSR_LIST } from './abi/structs.js';
import { cString, errnoName, ioctl, type Sys, tryIoctl } from './sys/sys.js';

const DEVICE = '/dev/kvm';
const CPUID_MAX = 512;
const MSRS_MAX = 2048;

/** One answer of CPUID as KVM lists it. */
export interface CpuidEntry {
  readonly leaf: number;
  readonly subleaf: number;
  readonly flags: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** Capabilities without which no VM can be made here, with what they are for. */
const NEEDED = [
  [CAP.USER_MEMORY, 'memory of user space'],
  [CAP.IMMEDIATE_EXIT, 'exits on request'],
] as const;

/** Why KVM cannot be used, and what to do. */
export interface HostProblem {
  readonly reason: string;
  readonly remedy: string;
}

const JOIN = 'join the group that owns it (sudo usermod -aG kvm $USER, then log in again)';
const ELSEWHERE = 'use --backend emu, which needs no KVM';

function openProblem(errno: number): HostProblem {
  switch (Math.abs(errno)) {
    case ERRNO.ENOENT:
    case ERRNO.ENODEV:
      return {
        reason: `there is no ${DEVICE}`,
        remedy: `enable virtualization and load kvm_intel or kvm_amd, or ${ELSEWHERE}`,
      };
    case ERRNO.EACCES:
    case ERRNO.EPERM:
      return {
        reason: `this user may not open ${DEVICE}`,
        remedy: `${JOIN}, or ${ELSEWHERE}`,
      };
    default:
      return { reason: `${DEVICE} cannot be opened: ${errnoName(errno)}`, remedy: ELSEWHERE };
  }
}

export class KvmHost {
  private constructor(
    readonly sys: Sys,
    readonly fd: number,
  ) {}

  /** Opens KVM, or says why not. */
  static open(sys: Sys): KvmHost | HostProblem {
    const fd = sys.syscall(NR.openat, AT_FDCWD, cString(DEVICE), O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return openProblem(fd);
    const host = new KvmHost(sys, fd);
    const problem = host.problem();
    if (problem === null) return host;
    host.close();
    return problem;
  }

  /** As `open`, but throws `VmmError('unavailable')`. */
  static require(sys: Sys): KvmHost {
    const host = KvmHost.open(sys);
    if (host instanceof KvmHost) return host;
    throw new VmmError('unavailable', `backend kvm: ${host.reason}`, { remedy: host.remedy });
  }

  private problem(): HostProblem | null {
    const version = tryIoctl(this.sys, this.fd, 'GET_API_VERSION');
    if (version !== LIMITS.API_VERSION) {
      return {
        reason: `${DEVICE} speaks version ${version} of the interface, not ${LIMITS.API_VERSION}`,
        remedy: ELSEWHERE,
      };
    }
    const lacking = NEEDED.filter(([cap]) => this.capability(cap) === 0).map(([, what]) => what);
    if (lacking.length === 0) return null;
    return { reason: `this kernel's KVM lacks ${lacking.join(', ')}`, remedy: ELSEWHERE };
  }

  /** KVM_CHECK_EXTENSION: 0 where absent, else 1 or what the capability says. */
  capability(number: number): number {
    return Math.max(0, tryIoctl(this.sys, this.fd, 'CHECK_EXTENSION', number));
  }

  /** Bytes of a vCPU's shared page or pages. */
  runSize(): number {
    return ioctl(this.sys, this.fd, 'GET_VCPU_MMAP_SIZE');
  }

  /** Bit n: VMs of type n can be made. Kernels that do not say so know type 0 only. */
  vmTypes(): number {
    return this.capability(CAP.VM_TYPES) | 1;
  }

  supportedCpuid(): CpuidEntry[] {
    const bytes = new Uint8Array(CPUID2.size + CPUID_MAX * CPUID_ENTRY2.size);
    const head = new StructView(CPUID2, bytes).set('nent', CPUID_MAX);
    ioctl(this.sys, this.fd, 'GET_SUPPORTED_CPUID', bytes);
    return Array.from({ length: Math.min(CPUID_MAX, head.get('nent')) }, (_, index) => {
      const at = new StructView(CPUID_ENTRY2, bytes, CPUID2.size + index * CPUID_ENTRY2.size);
      return {
        leaf: at.get('function'),
        subleaf: at.get('index'),
        flags: at.get('flags'),
        eax: at.get('eax'),
        ebx: at.get('ebx'),
        ecx: at.get('ecx'),
        edx: at.get('edx'),
      };
    });
  }

  /** Indices of the MSRs that make up a vCPU's state. */
  msrIndices(): number[] {
    const bytes = new Uint8Array(MSR_LIST.size + 4 * MSRS_MAX);
    const head = new StructView(MSR_LIST, bytes).set('nmsrs', MSRS_MAX);
    ioctl(this.sys, this.fd, 'GET_MSR_INDEX_LIST', bytes);
    const view = new DataView(bytes.buffer, MSR_LIST.size);
    return Array.from({ length: Math.min(MSRS_MAX, head.get('nmsrs')) }, (_, index) =>
      view.getUint32(4 * index, true),
    );
  }

  close(): void {
    this.sys.syscall(NR.close, this.fd);
  }
}
