/**
 * Emulation assist on KVM: the guest's memory file is mapped over the assist's memory, and a vCPU's
 * registers, x87 and SSE state and some MSRs go there for one instruction and back. Extended state
 * that the assist does not know (AVX and further) stays untouched in the kernel.
 *
 * Source: Documentation/virt/kvm/api.rst (KVM_GET_XSAVE); AMD APM vol. 2, 11.5 (XSAVE area).
 */
import { type AssistEnd, type ExitSink, type InstructionAssist, VmmError } from '@cloister/core';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  NR,
  PROT_READ,
  PROT_WRITE,
} from './abi/linux.js';
import { StructView } from './abi/struct.js';
import { XSAVE } from './abi/structs.js';
import type { KvmGuestMemory } from './guest-memory.js';
import { checked, ioctl, type Sys } from './sys/sys.js';
import type { KvmVcpu } from './vcpu.js';
import { readMsr, writeMsr } from './vcpu-record.js';

const PAGE = 4096n;
const FXSAVE_BYTES = 512;
/** XSTATE_BV, behind the legacy area. */
const STATE_BITS = 512;
const X87_AND_SSE = 3;

export class KvmAssist {
  /** Instructions so far. */
  steps = 0;
  private readonly ram: Uint8Array;
  /** The guest memory's count of changes that the assist was told of. */
  private placed = -1;

  constructor(
    private readonly sys: Sys,
    private readonly assist: InstructionAssist,
    private readonly memory: KvmGuestMemory,
  ) {
    const size = memory.bytes.length;
    this.ram = assist.connect(size);
    if (this.ram.length < size || sys.addressOf(this.ram) % PAGE !== 0n) {
      throw new VmmError('unsupported', `the memory of ${assist.name} cannot be shared`, {
        remedy: 'do without the assist',
      });
    }
    this.map(MAP_SHARED | MAP_NORESERVE, memory.fd);
  }

  /** Runs the instruction at the vCPU's RIP. */
  step(vcpu: KvmVcpu, sink: ExitSink): AssistEnd {
    const { sys, assist, memory } = this;
    if (this.placed !== memory.changes) {
      assist.place(memory.slots, (gpa) => memory.locate(gpa));
      this.placed = memory.changes;
    }
    this.steps++;
    const xsave = new StructView(XSAVE);
    ioctl(sys, vcpu.fd, 'GET_XSAVE', xsave.bytes);
    const cpu = {
      state: vcpu.readState(),
      fxsave: xsave.bytes.subarray(0, FXSAVE_BYTES),
      msrs: new Map(assist.msrs.map((index) => [index, readMsr(sys, vcpu.fd, index)] as const)),
    };
    const before = { fxsave: cpu.fxsave.slice(), msrs: new Map(cpu.msrs) };
    const end = assist.step(cpu, (exit) => {
      exit.vcpu = vcpu.index;
      exit.instructions = -1;
      sink(exit);
    });
    vcpu.writeState(cpu.state);
    if (cpu.fxsave.some((byte, at) => byte !== before.fxsave[at])) {
      xsave.bytes[STATE_BITS]! |= X87_AND_SSE;
      ioctl(sys, vcpu.fd, 'SET_XSAVE', xsave.bytes);
    }
    for (const [index, value] of cpu.msrs) {
      if (value !== before.msrs.get(index)) writeMsr(sys, vcpu.fd, index, value);
    }
    return end;
  }

  /** Pages that steps wrote, as KVM's log does not see. */
  takeDirty(): Uint32Array {
    return this.placed < 0 ? new Uint32Array(0) : this.assist.takeDirty();
  }

  /** Gives the assist memory of its own again. */
  dispose(): void {
    this.map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  }

  private map(flags: number, fd: number): void {
    const { sys, ram, memory } = this;
    const rights = PROT_READ | PROT_WRITE;
    const at = sys.addressOf(ram);
    const size = memory.bytes.length;
    const result = sys.syscall(NR.mmap, at, size, rights, flags | MAP_FIXED, fd, 0);
    checked("cannot lay guest memory over the assist's", result);
  }
}
