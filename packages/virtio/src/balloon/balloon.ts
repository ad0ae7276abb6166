/**
 * Plugin: a virtio memory balloon with free page reporting.
 *
 * What the host wishes enters by the input port, so that a recorded run repeats it.
 */
import { type ServiceToken, VmmError, type VmPlugin } from '@cloister/core';
import { VIRTIO_BUS, VIRTIO_TRANSPORT } from '../transport/bus.js';
import { type BalloonCounters, balloonModel } from './balloon-model.js';

/** The host's end of the balloon. */
export interface BalloonControl {
  /** Asks the guest to give up so many bytes, rounded down to pages of 4096. */
  setTarget(bytes: number): void;
  /** Asks the guest for its memory statistics. */
  askStatistics(): void;
  readonly counters: BalloonCounters;
}

export const BALLOON: ServiceToken<BalloonControl> = {
  key: Symbol.for('@cloister/virtio/balloon'),
};

const PAGE_SIZE = 4096;
const TARGET = 0;
const STATISTICS = 1;
const NAME = 'balloon0';

/** A balloon; `size` bytes are asked for at the start, none unless given. */
export function virtioBalloon(options: { readonly size?: number } = {}): VmPlugin {
  const { size = 0 } = options;
  return {
    name: 'virtio-balloon',
    version: '0.1.0',
    api: 1,
    requires: [VIRTIO_TRANSPORT],
    provides: [],
    setup(context) {
      const model = balloonModel({
        discard(gpa, length) {
          const pages = gpa % PAGE_SIZE === 0 && length % PAGE_SIZE === 0;
          if (!pages || !context.dma.covers(gpa, length, 'write')) return false;
          context.memory.discard(gpa, length);
          return true;
        },
      });
      const source = context.input.source(NAME, (data) => {
        const view = new DataView(data.buffer, data.byteOffset, data.length);
        if (data[0] === TARGET && data.length === 5) model.setTarget(view.getUint32(1, true));
        else if (data[0] === STATISTICS) model.askStatistics();
      });
      const setTarget = (bytes: number) => {
        if (!(bytes >= 0 && bytes < context.ramSize)) {
          throw new VmmError('invalid-argument', `a balloon of ${bytes} bytes is not below RAM`, {
            remedy: 'ask for less than the VM has',
          });
        }
        const message = new Uint8Array(5);
        new DataView(message.buffer).setUint32(1, Math.floor(bytes / PAGE_SIZE), true);
        source.push(message);
      };
      context.get(VIRTIO_BUS).attach(context, model as never);
      context.provide(BALLOON, {
        setTarget,
        askStatistics: () => void source.push(Uint8Array.of(STATISTICS)),
        get counters() {
          return model.counters;
        },
      });
      if (size > 0) setTarget(size);
      context.addSummary(() => {
        const { actual, reportedBytes } = model.counters;
        return [['balloon', `${actual} pages held, ${reportedBytes} bytes reported free`]];
      });
    },
  };
}
