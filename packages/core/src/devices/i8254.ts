/**
 * 8254 programmable interval timer, with the PC's port 0x61 (gate and output of channel 2,
 * speaker).
 *
 * Source: Intel 8254 datasheet (order number 231164-005), names as there; port 0x61 from the Intel
 * 82371AB (PIIX4) datasheet, 4.2.8 (NMI status and control).
 *
 * Known inaccuracies: a write takes effect with the next CLK edge after it, while the chip's
 * two-edge load is not split in its halves; a host clock that is late (wall mode) may merge output
 * edges; NMI sources of port 0x61 never occur.
 */
import type { Clock, Device, DeviceRegion, IrqLine, Snapshot, Timer } from '../interfaces/index.js';
import { readBytewise, writeBytewise } from './bytewise.js';
import { ticksAt, timeOfTick } from './frequency.js';
import { CHANNEL, type Channel, PitChannel, powerOnChannel } from './i8254-channel.js';
import { int, list, loadState, record, type StateFormat, saveState } from './state.js';

/** The frequency of CLK: a twelfth of the 14.31818 MHz crystal. */
export const PIT_HZ = 1_193_182;

export interface I8254Options {
  readonly name?: string;
}

export interface I8254Ports {
  readonly clock: Clock;
  /** OUT of channel 0: IRQ 0. */
  readonly irq: IrqLine;
  /** The speaker's tone in Hz, 0 for silence; called when it changes. */
  readonly speaker?: (hz: number) => void;
}

const GATE2 = 0x01;
const SPEAKER_DATA = 0x02;
/** Enables of NMI sources: kept, without effect. */
const NMI_ENABLES = 0x0c;
const REFRESH_TOGGLE = 0x10;
const OUT2 = 0x20;
/** The refresh request toggles this often. */
const REFRESH_NS = 15_085;

interface State {
  channels: Channel[];
  /** Bits 3:0 of port 0x61. */
  control: number;
}

const FORMAT: StateFormat<State> = {
  type: 'i8254',
  version: 1,
  field: record<State>({ channels: list(CHANNEL, 3), control: int(0, 0x0f) }),
};

function powerOn(): State {
  return {
    channels: [powerOnChannel(true), powerOnChannel(true), powerOnChannel(false)],
    control: 0,
  };
}

class Pit implements Device {
  readonly name: string;
  readonly regions: readonly DeviceRegion[] = [
    { space: 'io', base: 0x40, length: 4, name: 'pit' },
    { space: 'io', base: 0x61, length: 1, name: 'port61' },
  ];
  private channels: PitChannel[] = [];
  private control = 0;
  private timer: Timer | null = null;
  private tone = 0;

  constructor(
    options: I8254Options,
    private readonly ports: I8254Ports,
  ) {
    this.name = options.name ?? 'pit';
    this.load(powerOn());
  }

  private get tick(): number {
    return ticksAt(this.ports.clock.now(), PIT_HZ);
  }

  private channel(index: number): PitChannel {
    return this.channels[index] as PitChannel;
  }

  read(region: number, offset: number, size: number): number {
    return readBytewise(offset, size, (at) => {
      if (region === 1) return this.readPort61();
      // The control word register can't be read.
      return at === 3 ? 0xff : this.channel(at).read(this.tick);
    });
  }

  write(region: number, offset: number, size: number, value: number): void {
    writeBytewise(offset, size, value, (at, byte) => {
      if (region === 1) this.writePort61(byte);
      else if (at === 3) this.writeControl(byte);
      else this.channel(at).write(byte, this.tick);
    });
    this.update();
  }

  private writeControl(word: number): void {
    const select = word >> 6;
    if (select !== 3) {
      this.channel(select).control(word, this.tick);
      return;
    }
    // Read-back: two active-low bits and a mask of channels.
    const t = this.tick;
    for (let i = 0; i < 3; i++) {
      if ((word & (2 << i)) === 0) continue;
      if ((word & 0x20) === 0) this.channel(i).latchCount(t);
      if ((word & 0x10) === 0) this.channel(i).latchStatus(t);
    }
  }

  private readPort61(): number {
    const refresh = Math.floor(this.ports.clock.now() / REFRESH_NS) & 1;
    return (
      this.control | (refresh ? REFRESH_TOGGLE : 0) | (this.channel(2).out(this.tick) ? OUT2 : 0)
    );
  }

  private writePort61(value: number): void {
    this.control = value & (GATE2 | SPEAKER_DATA | NMI_ENABLES);
    this.channel(2).setGate((value & GATE2) !== 0, this.tick);
  }

  /** Drives IRQ 0 and the speaker, and sets the timer for the next edge of channel 0. */
  private update(): void {
    const t = this.tick;
    this.ports.irq.set(this.channel(0).out(t));
    this.schedule(this.channel(0).nextEdge(t));
    this.updateSpeaker();
  }

  private schedule(edge: number | null): void {
    this.timer?.cancel();
    this.timer =
      edge === null
        ? null
        : this.ports.clock.at(timeOfTick(edge, PIT_HZ), () => this.edgeReached(edge));
  }

  private edgeReached(edge: number): void {
    this.timer = null;
    const channel = this.channel(0);
    const level = channel.out(edge);
    this.ports.irq.set(level);
    const t = Math.max(edge, this.tick);
    const next = channel.nextEdge(edge);
    // A late host clock: catch up by one pulse, so that no wake-up is lost, but no burst follows.
    if (next !== null && t >= next) {
      this.ports.irq.set(!level);
      this.ports.irq.set(channel.out(t));
      this.schedule(channel.nextEdge(t));
    } else {
      this.schedule(next);
    }
  }

  private updateSpeaker(): void {
    const { s } = this.channel(2);
    const sounds = (this.control & SPEAKER_DATA) !== 0 && s.gate && s.mode === 3 && s.written;
    const tone = sounds ? PIT_HZ / s.n : 0;
    if (tone === this.tone) return;
    this.tone = tone;
    this.ports.speaker?.(tone);
  }

  // --- Life

  drain(): Promise<void> {
    return Promise.resolve();
  }

  reset(): void {
    this.load(powerOn());
    this.ports.irq.set(false);
    this.updateSpeaker();
  }

  snapshot(): Snapshot {
    return saveState(FORMAT, {
      channels: this.channels.map((channel) => channel.s),
      control: this.control,
    });
  }

  restore(snapshot: Snapshot): void {
    this.load(loadState(FORMAT, snapshot));
    this.update();
  }

  private load(state: State): void {
    this.schedule(null);
    this.channels = state.channels.map((channel) => new PitChannel(channel));
    this.control = state.control;
  }

  dispose(): void {
    this.timer?.cancel();
  }
}

/** The PIT at 0x40 and port 0x61. */
export function i8254(options: I8254Options = {}): (ports: I8254Ports) => Device {
  return (ports) => new Pit(options, ports);
}
