/**
 * virtio entropy device: fills what the driver hands it with random bytes.
 *
 * Source: virtio 1.2, 5.4. One queue, no features, no configuration. A request is filled at once:
 * the bytes come from a `Random` of the VM's, so that runs repeat.
 *
 * Known inaccuracies: at most 64 KiB are filled per request, as 5.4.6.2 allows (the device fills at
 * least one byte).
 */
import type { Random } from '@cloister/core';
import { state } from '@cloister/core/devices';
import type { VirtioModel, VirtioPort } from '../device/model.js';
import { byteLength } from '../queue/chain.js';

export const RNG_DEVICE_ID = 4;

const REQUEST_MAX = 65_536;
/** Bytes that count as one read of the ring, towards the bound of one event. */
const BYTES_A_READ = 256;

class RngModel implements VirtioModel<object> {
  readonly deviceId = RNG_DEVICE_ID;
  /** Other system peripheral. */
  readonly pciClass = 0x088000;
  readonly features = [];
  readonly queueSizes = [64];
  readonly config = new Uint8Array(0);
  readonly state: state.Field<object> = state.record<object>({});
  private port: VirtioPort | null = null;

  constructor(
    readonly name: string,
    private readonly random: Random,
  ) {}

  connect(port: VirtioPort): void {
    this.port = port;
  }

  notify(index: number): void {
    const port = this.port!;
    const queue = port.queue(index);
    for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
      const length = Math.min(byteLength(chain.writable), REQUEST_MAX);
      // 5.4.6.1: the driver gives no device-readable buffers, and room for a byte.
      if (chain.readable.length > 0 || length === 0) {
        port.needsReset('an entropy request is not a buffer to fill');
        return;
      }
      queue.spend(Math.ceil(length / BYTES_A_READ));
      const bytes = new Uint8Array(length);
      this.random.fill(bytes);
      queue.write(chain, 0, bytes);
      queue.push(chain, length);
    }
    queue.signal();
  }

  reset(): void {}

  save(): object {
    return {};
  }

  load(): void {}
}

export interface RngOptions {
  /** `rng0` unless given. */
  readonly name?: string;
}

/** An entropy device that takes its bytes from `random`. */
export function rngModel(random: Random, options: RngOptions = {}): VirtioModel<object> {
  return new RngModel(options.name ?? 'rng0', random);
}
