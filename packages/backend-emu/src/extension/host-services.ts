/**
 * What the host gives an extension to answer its guest with (`ExtensionHost`): the ways by which an
 * unprotected guest's instructions get their answers, without the instruction.
 */
import {
  type CpuidGuestState,
  type CpuidValue,
  type ExtensionHost,
  type MsrValue,
  type VmExit,
  VmmError,
} from '@cloister/core';
import type { Processor } from '../cpu/processor.js';
import { queryCpuid, readMsr, writeMsr } from '../system/machine.js';

const MMIO_MAX = 64;
const IO_MAX = 4096;

export class HostServices implements ExtensionHost {
  constructor(private readonly cpu: Processor) {}

  io(direction: 'in' | 'out', port: number, size: number, count: number, data: Uint8Array): void {
    const sized = (size === 1 || size === 2 || size === 4) && data.length === size * count;
    if (!sized || data.length > IO_MAX || port < 0 || port > 0xffff) {
      throw misuse(`${count} items of ${size} bytes at port ${port}, ${data.length} bytes of data`);
    }
    if (direction === 'in') data.fill(0xff);
    this.cpu.exits.deliverIo(direction, port, size, count, data);
  }

  mmio(direction: 'read' | 'write', gpa: number, data: Uint8Array): void {
    if (data.length < 1 || data.length > MMIO_MAX || !Number.isSafeInteger(gpa) || gpa < 0) {
      throw misuse(`${data.length} bytes at guest address ${gpa}`);
    }
    const { mmio } = this.cpu;
    if (direction === 'read') mmio.read(gpa, data.fill(0xff));
    else mmio.write(gpa, data);
    this.cpu.updatePending();
  }

  cpuid(leaf: number, subleaf: number, guest: CpuidGuestState, value: CpuidValue): void {
    const { exits, intercept } = this.cpu;
    queryCpuid(this.cpu, leaf >>> 0, subleaf >>> 0, guest, intercept.has('cpuid'));
    const { eax, ebx, ecx, edx } = exits.cpuid;
    Object.assign(value, { eax, ebx, ecx, edx });
  }

  readMsr(index: number, value: MsrValue): 'ok' | 'gp' {
    const { intercept } = this.cpu;
    return readMsr(this.cpu, index >>> 0, value, intercept.has('msr')) ? 'ok' : 'gp';
  }

  writeMsr(index: number, value: MsrValue): 'ok' | 'gp' {
    const { intercept } = this.cpu;
    return writeMsr(this.cpu, index >>> 0, value, intercept.has('msr')) ? 'ok' : 'gp';
  }

  hypercall(number: number, args: Uint32Array, result: MsrValue): void {
    const { exits } = this.cpu;
    exits.hypercall.args.set(args.subarray(0, 8));
    exits.deliverHypercall(number);
    result.lo = exits.hypercall.resultLo >>> 0;
    result.hi = exits.hypercall.resultHi >>> 0;
  }

  rdtsc(value: MsrValue): void {
    const { tsc } = this.cpu.services;
    tsc.read();
    value.lo = tsc.lo;
    value.hi = tsc.hi;
  }

  /** There is no counter. */
  rdpmc(_index: number, _value: MsrValue): 'gp' {
    return 'gp';
  }

  deliver(exit: VmExit): void {
    this.cpu.exits.deliver(exit);
  }
}

function misuse(what: string): VmmError {
  return new VmmError('invalid-argument', `an extension asks the host for ${what}`);
}
