/**
 * Debug exit: a write ends the VM with exit status `(value << 1) | 1`, so that a guest's tests can
 * report a result.
 *
 * Source: QEMU's isa-debug-exit device, `docs/` and `-device isa-debug-exit,help`: iobase 0x501 and
 * iosize 2 by default, used by the kvm-unit-tests at 0xf4 with 4 ports.
 */
import type { Device, DeviceRegion, MachineControl, VmPlugin } from '../interfaces/index.js';
import { loadState, record, type StateFormat, saveState } from './state.js';

export interface DebugExitOptions {
  readonly name?: string;
  /** First of 4 ports; 0xf4 unless given. */
  readonly base?: number;
}

export interface DebugExitPorts {
  readonly control: Pick<MachineControl, 'powerOff'>;
}

const FORMAT: StateFormat<object> = { type: 'debug-exit', version: 1, field: record<object>({}) };

/** The device. Its reads are all zeros; it has no state. */
export function debugExitDevice(options: DebugExitOptions = {}): (ports: DebugExitPorts) => Device {
  const name = options.name ?? 'debug-exit';
  const regions: readonly DeviceRegion[] = [
    { space: 'io', base: options.base ?? 0xf4, length: 4, name },
  ];
  return ({ control }) => ({
    name,
    regions,
    read: () => 0,
    // A process has 8 bits of exit status: the arithmetic is done in 32, then cut.
    write: (_region, _offset, _size, value) =>
      control.powerOff('debug-exit', ((value << 1) | 1) & 0xff),
    drain: () => Promise.resolve(),
    reset: () => {},
    snapshot: () => saveState(FORMAT, {}),
    restore: (snapshot) => {
      loadState(FORMAT, snapshot);
    },
  });
}

/** Plugin: a debug-exit device. */
export function debugExit(options: DebugExitOptions = {}): VmPlugin {
  return {
    name: 'debug-exit',
    version: '0.1.0',
    api: 1,
    requires: [],
    provides: ['debug-exit'],
    setup(context) {
      context.addDevice(debugExitDevice(options)({ control: context.control }));
    },
  };
}
