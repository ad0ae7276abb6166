/**
 * The vCPUs of a VM, made one after the other: descriptor, shared page, CPUID, records; and, where
 * they execute at the same time, a thread for each but the first.
 */
import { NR } from './abi/linux.js';
import { StructView } from './abi/struct.js';
import { REGS } from './abi/structs.js';
import { cpuidList, encryptionOf, signatureOf } from './cpuid-policy.js';
import { DirtyRing } from './dirty-ring.js';
import type { KvmHost } from './host.js';
import { ioctl, type Sys, tryIoctl } from './sys/sys.js';
import { ALONE, KvmVcpu, type Membership } from './vcpu.js';
import { VcpuGroup } from './vcpu-group.js';
import { Bell } from './vcpu-mailbox.js';
import type { VcpuPorts } from './vcpu-ports.js';
import { VcpuRecords } from './vcpu-record.js';
import { VcpuThread } from './vcpu-thread.js';
import type { KvmVmChoices } from './vm.js';

export interface VcpuRequest {
  readonly host: KvmHost;
  readonly vmFd: number;
  readonly cpus: number;
  readonly choices: KvmVmChoices;
  readonly vmType: number;
  readonly ports: Omit<VcpuPorts, 'tscKhz'>;
  /** Takes what closes what was made. */
  readonly undo: (() => void)[];
}

export interface VcpuSet {
  readonly vcpus: readonly KvmVcpu[];
  readonly records: readonly VcpuRecords[];
  readonly rings: readonly DirtyRing[];
  /** Null where all take turns in the VM's thread. */
  readonly group: VcpuGroup | null;
}

export function openVcpus(request: VcpuRequest): VcpuSet {
  const { host, vmFd, cpus, choices, ports, undo } = request;
  const { sys, xsave } = ports;
  const supported = host.supportedCpuid();
  const tscKhz = Math.max(0, tryIoctl(sys, vmFd, 'GET_TSC_KHZ'));
  const msrs = host.msrIndices();
  const runSize = host.runSize();
  const members = new Members(request);
  const records: VcpuRecords[] = [];
  const rings: DirtyRing[] = [];
  const vcpus = Array.from({ length: cpus }, (_, index) => {
    const fd = ioctl(sys, vmFd, 'CREATE_VCPU', index);
    const khz = tscKhz || Math.max(0, tryIoctl(sys, fd, 'GET_TSC_KHZ'));
    const own = { ...ports, tscKhz: khz };
    const vcpu = orClose(sys, fd, () => {
      return new KvmVcpu(index, fd, runSize, own, members.next(fd, khz));
    });
    members.joined(vcpu);
    undo.push(() => vcpu.dispose());
    if (choices.dirtyRing > 0) {
      const ring = new DirtyRing(sys, fd, choices.dirtyRing);
      rings.push(ring);
      undo.push(() => ring.dispose());
    }
    const encryption = encryptionOf(request.vmType);
    const leaves = { cpu: choices.cpu, supported, cpus, index, tscKhz: khz, encryption };
    ioctl(sys, fd, 'SET_CPUID2', cpuidList(leaves));
    records.push(new VcpuRecords(sys, fd, { lapic: choices.irqchip !== 'none', xsave }, msrs));
    setSignature(sys, fd, signatureOf(choices.cpu, supported));
    return vcpu;
  });
  const { group } = members;
  if (group !== null) undo.push(() => void group.end());
  return { vcpus, records, rings, group };
}

/** How the vCPUs, in order, belong together. */
class Members {
  readonly group: VcpuGroup | null = null;
  private readonly bell = new Bell();
  private leader: KvmVcpu | null = null;

  constructor(private readonly request: VcpuRequest) {
    const { cpus, choices, ports } = request;
    if (cpus === 1 || choices.startThread === null) return;
    this.group = new VcpuGroup(this.bell, ports.signals.tid);
  }

  next(fd: number, tscKhz: number): Membership | typeof ALONE {
    const { group, bell, leader } = this;
    if (group === null) return ALONE;
    const { sys, signals } = this.request.ports;
    const start = this.request.choices.startThread!;
    const ports = { sys, pid: signals.pid, bell, start };
    const thread = leader === null ? null : new VcpuThread(ports, fd, tscKhz);
    return { group, leader, thread };
  }

  joined(vcpu: KvmVcpu): void {
    if (vcpu.follower !== null) this.group!.add(vcpu.follower);
    this.leader ??= vcpu;
  }
}

function orClose<Made>(sys: Sys, fd: number, make: () => Made): Made {
  try {
    return make();
  } catch (error) {
    sys.syscall(NR.close, fd);
    throw error;
  }
}

/** EDX after reset is the processor's signature. */
function setSignature(sys: Sys, fd: number, signature: number): void {
  const regs = new StructView(REGS);
  ioctl(sys, fd, 'GET_REGS', regs.bytes);
  ioctl(sys, fd, 'SET_REGS', regs.set('rdx', signature).bytes);
}
