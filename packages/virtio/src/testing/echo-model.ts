/**
 * A device of no real type, for tests of transports and queues: answers each buffer with what the
 * driver put into it, on as many queues as asked for, at once or when told.
 */
import { state } from '@cloister/core/devices';
import type { VirtioModel, VirtioPort } from '../device/model.js';
import { byteLength, type Chain, chainField } from '../queue/chain.js';

interface Held {
  queue: number;
  chain: Chain;
}

interface State {
  held: Held[];
}

const ANSWER_MAX = 65_536;
const HELD_MAX = 4096;

export class EchoModel implements VirtioModel<State> {
  readonly name = 'echo0';
  /** Not assigned by the specification. */
  readonly deviceId = 63;
  readonly pciClass = 0xff0000;
  readonly features = [0, 1];
  readonly config = Uint8Array.of(1, 2, 3, 4, 5, 6, 7);
  readonly queueSizes: readonly number[];
  readonly state: state.Field<State> = state.record<State>({
    held: state.listUpTo(state.record<Held>({ queue: state.u16, chain: chainField }), HELD_MAX),
  });
  port: VirtioPort | null = null;
  /** Answers wait for `answer`. */
  hold = false;
  activations = 0;
  private held: Held[] = [];

  constructor(queues = 1, size = 8) {
    this.queueSizes = Array.from({ length: queues }, () => size);
  }

  connect(port: VirtioPort): void {
    this.port = port;
  }

  activate(): void {
    this.activations++;
  }

  writeConfig(offset: number, size: number, value: number): void {
    for (let at = 0; at < size; at++) this.config[offset + at] = value >>> (8 * at);
  }

  notify(index: number): void {
    const queue = this.port!.queue(index);
    while (this.held.length < HELD_MAX) {
      const chain = queue.pop();
      if (chain === null) break;
      this.held.push({ queue: index, chain });
    }
    if (!this.hold) this.answer(this.held.length);
  }

  /** Answers the buffer that waits at `index` of those held. */
  answerAt(index: number): void {
    const [held] = this.held.splice(index, 1);
    if (held === undefined) return;
    const { chain } = held;
    const queue = this.port!.queue(held.queue);
    const length = Math.min(byteLength(chain.readable), byteLength(chain.writable), ANSWER_MAX);
    const data = new Uint8Array(length);
    queue.read(chain, 0, data);
    queue.write(chain, 0, data);
    queue.push(chain, length);
    queue.signal();
  }

  /** Answers the `count` oldest buffers. */
  answer(count: number): void {
    for (let done = 0; done < count; done++) this.answerAt(0);
  }

  reset(): void {
    this.held = [];
    this.config.set([1, 2, 3, 4, 5, 6, 7]);
  }

  save(): State {
    return { held: structuredClone(this.held) };
  }

  load(saved: State): void {
    this.held = saved.held;
  }
}
