/**
 * Plugin: a virtio network device in front of a backend.
 *
 * The backend is opened when the VM starts and closed at the VM's end, however that comes. What it
 * brings enters by the input port: frames, what went on of what was sent, and the state of the
 * link. In a replay all of that comes from the recording, and the backend stays closed.
 */
import { type PluginContext, VmmError, type VmPlugin } from '@cloister/core';
import { VIRTIO_BUS, VIRTIO_TRANSPORT } from '../transport/bus.js';
import type { FrameSink, NetBackend } from './backend.js';
import { framesOf, isGroup, macAt } from './frames.js';
import { HostLine } from './host-line.js';
import { MTU_MAX, MTU_MIN, type NetOptions, netModel } from './net-model.js';

export interface VirtioNetOptions extends Omit<NetOptions, 'mac' | 'mtu'> {
  /** Drawn from the VM's seed unless given: equal seeds give equal addresses. */
  readonly mac?: Uint8Array;
  /** Makes the backend when the VM is assembled; the device opens and closes it. */
  readonly backend: () => NetBackend;
  /**
   * Makes what sees every frame, also in a replay; the device closes it. Virtual time begins at
   * `epochSeconds` after 1970, UTC.
   */
  readonly capture?: (epochSeconds: number) => FrameSink;
}

export function virtioNet(options: VirtioNetOptions): VmPlugin {
  const { name = 'net0', mac } = options;
  if (mac !== undefined && (mac.length !== 6 || isGroup(macAt(mac, 0)))) {
    throw new VmmError(
      'invalid-argument',
      `${name}: a MAC address has six bytes, and is no group's`,
    );
  }
  return {
    name: `virtio-${name}`,
    version: '0.1.0',
    api: 1,
    requires: [VIRTIO_TRANSPORT],
    provides: [],
    setup: (context) => setup(context, name, options),
  };
}

function setup(context: PluginContext, name: string, options: VirtioNetOptions): void {
  const { clock, input } = context;
  const { mac = drawnMac(context), rateLimit } = options;
  const backend = options.backend();
  const { mtu } = backend;
  if (!Number.isInteger(mtu) || mtu < MTU_MIN || mtu > MTU_MAX) {
    throw new VmmError(
      'invalid-argument',
      `${name}: an MTU is from ${MTU_MIN} to ${MTU_MAX} bytes`,
    );
  }
  const sink = options.capture?.(clock.epochSeconds);
  const frames = { out: 0, in: 0 };
  const see = (direction: 'in' | 'out', batch: Uint8Array) => {
    for (const frame of framesOf(batch)) {
      frames[direction]++;
      sink?.frame(frame, clock.now());
    }
  };
  const line = new HostLine(name, {
    input,
    clock,
    backend,
    receive(batch) {
      see('in', batch);
      model.receive(batch);
    },
    sent: (cost) => model.sent(cost),
    setLink: (up) => model.setLink(up),
  });
  const model = netModel(
    { name, mac, mtu, ...(rateLimit && { rateLimit }) },
    {
      clock,
      send(batch, cost) {
        see('out', batch);
        line.send(batch, cost);
      },
      room: (has) => line.room(has),
      restored: (cost) => line.restored(cost),
    },
  );
  context.get(VIRTIO_BUS).attach(context, model as never);
  context.addSummary(() => [[name, `${backend.kind}: ${frames.in} frames in, ${frames.out} out`]]);
  context.onStart(() => line.open());
  context.onDispose(async () => {
    sink?.close();
    await line.close();
  });
}

/** A locally administered address. */
function drawnMac({ random }: PluginContext): Uint8Array {
  const mac = Uint8Array.of(0x52, 0x54, 0, 0, 0, 0);
  random.fill(mac.subarray(3));
  return mac;
}
