/**
 * Devices: registers, and effects through ports only, so that each can be tested alone.
 *
 * A device never throws, hangs or allocates without bound on any sequence of guest accesses.
 */
import type { Snapshotable } from './snapshot.js';

/** A range of guest addresses that a device answers. */
export interface DeviceRegion {
  readonly space: 'io' | 'mmio';
  readonly base: number;
  readonly length: number;
  /** Shown in errors and traces, e.g. `com1`. */
  readonly name: string;
}

/**
 * A device. Offsets are relative to the region's base. Accesses wider than 4 bytes or crossing a
 * region's end are split by the bus, lowest address first.
 */
export interface Device extends Snapshotable {
  /** Unique within a VM, e.g. `serial0`. */
  readonly name: string;
  readonly regions: readonly DeviceRegion[];
  /** The value of `size` (1, 2 or 4) bytes at `offset`, as an unsigned number. */
  read(region: number, offset: number, size: number): number;
  /** Writes the low `size` bytes of `value` (unsigned). */
  write(region: number, offset: number, size: number, value: number): void;
  /** Resolves when no host work that may touch the guest is under way. */
  drain(): Promise<void>;
  /** Back to the power-on state; host connections stay. */
  reset(): void;
  /** Releases host resources; called once, in reverse order of creation. */
  dispose?(): void | Promise<void>;
}

/** An interrupt line. Level-triggered unless the controller is told otherwise. */
export interface IrqLine {
  /** Drives the line; driving the level that it already has does nothing. */
  set(level: boolean): void;
}

/** Takes bytes out of a device, e.g. a console. */
export interface ByteSink {
  /**
   * Takes one byte. Returns false when it could not (the device stalls and offers it again):
   * a slow terminal stalls the guest and never grows memory.
   */
  put(byte: number): boolean;
}

/** Requests of devices to the machine. Acted on between two instructions. */
export interface MachineControl {
  /** ACPI S5, debug-exit: the guest ended the VM. `status` is the exit status it asked for. */
  powerOff(reason: string, status?: number): void;
  /** Reset register, i8042, port 0x92: restart the machine. */
  reset(reason: string): void;
}
