/**
 * One vCPU as its extensions see it.
 */
import {
  type ExtensionHost,
  type ExtensionVcpu,
  type InjectedEvent,
  type InterceptName,
  type StopReason,
  type VcpuState,
  VmmError,
} from '@cloister/core';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';

function absent(what: string): never {
  throw new VmmError('unsupported', `this processor has no ${what} for extensions yet`);
}

export class ExtensionCpu implements ExtensionVcpu {
  readonly index: number;
  readonly context = 0;
  readonly gpr: Uint32Array;
  iretUnblocksNmi = true;

  constructor(private readonly cpu: Processor) {
    this.index = cpu.index;
    const { buffer, base } = cpu.record;
    this.gpr = new Uint32Array(buffer, base + L.GPR, 32);
  }

  get host(): ExtensionHost {
    return absent('host services');
  }

  readState(): VcpuState {
    return this.cpu.readState();
  }

  writeState(state: VcpuState): void {
    this.cpu.writeState(state);
  }

  saveRegisters(_window: Uint8Array): void {
    absent('register windows');
  }

  loadRegisters(_window: Uint8Array): void {
    absent('register windows');
  }

  clearRegisters(): void {
    absent('register windows');
  }

  complete(): void {
    absent('intercepts');
  }

  switchContext(context: number): void {
    if (context !== this.context) absent('second context');
  }

  flushTlb(): void {
    this.cpu.mmu.tlb.flushAll();
  }

  setIntercepts(_names: ReadonlySet<InterceptName>): void {
    absent('intercepts');
  }

  get interruptFlag(): boolean {
    return absent('interrupts');
  }

  get interruptShadow(): boolean {
    return absent('interrupts');
  }

  get pending(): 'none' | 'interrupt' | 'nmi' {
    return absent('interrupts');
  }

  acknowledge(): number {
    return absent('interrupts');
  }

  inject(_event: InjectedEvent): void {
    absent('interrupts');
  }

  get nmiBlocked(): boolean {
    return this.cpu.words[L.NMI_BLOCKED >> 2] !== 0;
  }

  set nmiBlocked(blocked: boolean) {
    this.cpu.words[L.NMI_BLOCKED >> 2] = blocked ? 1 : 0;
  }

  halt(_interruptible: boolean): void {
    absent('world switch');
  }

  waitForStartup(): void {
    absent('world switch');
  }

  run(): void {
    absent('world switch');
  }

  yield(): void {
    absent('world switch');
  }

  stop(_reason: StopReason): void {
    absent('world switch');
  }
}
