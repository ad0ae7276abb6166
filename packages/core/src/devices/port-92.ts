/**
 * System control port A (0x92): fast A20 and fast reset.
 *
 * Source: IBM PS/2 Hardware Interface Technical Reference (1988), "System control port A".
 *
 * Known inaccuracies: A20 is kept and read back but never masks an address; the security lock and
 * the activity lights have no effect.
 */
import type { Device, DeviceRegion, MachineControl, Snapshot } from '../interfaces/index.js';
import { loadState, record, type StateFormat, saveState, u8 } from './state.js';

export interface Port92Ports {
  readonly control: Pick<MachineControl, 'reset'>;
}

const FAST_RESET = 0x01;
const A20 = 0x02;

interface State {
  value: number;
}

const FORMAT: StateFormat<State> = {
  type: 'port-92',
  version: 1,
  field: record<State>({ value: u8 }),
};

class SystemControlPort implements Device {
  readonly name = 'port92';
  readonly regions: readonly DeviceRegion[] = [
    { space: 'io', base: 0x92, length: 1, name: 'port92' },
  ];
  private s: State = { value: A20 };

  constructor(private readonly ports: Port92Ports) {}

  read(): number {
    return this.s.value;
  }

  write(_region: number, _offset: number, _size: number, value: number): void {
    const rises = (value & FAST_RESET) !== 0 && (this.s.value & FAST_RESET) === 0;
    this.s.value = value & 0xff;
    if (rises) this.ports.control.reset('port92');
  }

  drain(): Promise<void> {
    return Promise.resolve();
  }

  reset(): void {
    this.s = { value: A20 };
  }

  snapshot(): Snapshot {
    return saveState(FORMAT, this.s);
  }

  restore(snapshot: Snapshot): void {
    this.s = loadState(FORMAT, snapshot);
  }
}

/** System control port A. */
export function port92(): (ports: Port92Ports) => Device {
  return (ports) => new SystemControlPort(ports);
}
