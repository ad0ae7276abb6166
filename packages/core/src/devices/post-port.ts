/**
 * Port 0x80: the POST code latch, which guests write to for a short delay.
 *
 * Source: IBM PC AT Technical Reference (1984), "Diagnostic checkpoint port"; reads give the last
 * code, as the DMA page register behind the port does.
 */
import type { Device, DeviceRegion, Snapshot } from '../interfaces/index.js';
import { loadState, record, type StateFormat, saveState, u8 } from './state.js';

interface State {
  code: number;
}

const FORMAT: StateFormat<State> = {
  type: 'post-port',
  version: 1,
  field: record<State>({ code: u8 }),
};

class PostPort implements Device {
  readonly name = 'post';
  readonly regions: readonly DeviceRegion[] = [
    { space: 'io', base: 0x80, length: 1, name: 'post' },
  ];
  private s: State = { code: 0 };

  read(): number {
    return this.s.code;
  }

  write(_region: number, _offset: number, _size: number, value: number): void {
    this.s.code = value & 0xff;
  }

  drain(): Promise<void> {
    return Promise.resolve();
  }

  reset(): void {
    this.s = { code: 0 };
  }

  snapshot(): Snapshot {
    return saveState(FORMAT, this.s);
  }

  restore(snapshot: Snapshot): void {
    this.s = loadState(FORMAT, snapshot);
  }
}

/** The POST code latch. */
export function postPort(): Device {
  return new PostPort();
}
