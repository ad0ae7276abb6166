/** The ports that the device kit gives a device: fakes that write down every effect in order. */
import { FakeClock, FakeControl, FakeLine, FakeRandom, FakeSink } from './fakes.js';

export class KitPorts {
  readonly clock: FakeClock;
  readonly random: FakeRandom;
  readonly control: FakeControl;
  readonly sink: FakeSink;
  /** What the device did, in order: line changes, bytes, requests, and notes of `note`. */
  readonly effects: string[] = [];
  private readonly lines = new Map<string, FakeLine>();

  constructor(time = 0) {
    this.clock = new FakeClock(time);
    this.random = new FakeRandom(99);
    this.control = new FakeControl((request) => this.note(request));
    this.sink = new FakeSink((byte) => this.note(`byte ${byte}`));
  }

  /** An interrupt line; the same for the same name. */
  line(name = 'irq'): FakeLine {
    let line = this.lines.get(name);
    if (line === undefined) {
      line = new FakeLine((level) => this.note(`${name} ${level ? 'high' : 'low'}`));
      this.lines.set(name, line);
    }
    return line;
  }

  /** Writes down an effect of a port that the kit does not know. */
  note(effect: string): void {
    this.effects.push(`${this.clock.now()}: ${effect}`);
  }

  /** Names of the lines that are high. */
  highLines(): string {
    const high = [...this.lines].filter(([, { level }]) => level).map(([name]) => name);
    return high.sort().join(' ');
  }

  /** Takes over what is the host's, not the device's: time, chance, whether the sink is open. */
  catchUp(other: KitPorts): void {
    this.clock.set(other.clock.now());
    this.sink.open = other.sink.open;
    this.random.copy(other.random);
  }
}
