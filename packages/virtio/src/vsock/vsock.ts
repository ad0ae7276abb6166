/**
 * Plugin: a virtio socket device, with programs of the host at its other end.
 */
import { VmmError, type VmPlugin } from '@cloister/core';
import { virtioDevice } from '../transport/bus.js';
import { encodeEvent, NO_HOST, type VsockHost, type VsockHostPorts } from './vsock-host.js';
import { VSOCK_CID, type VsockModel, vsockModel } from './vsock-model.js';

export interface VsockOptions {
  /** The guest's address, from 3 to 2^32 - 2; 3 unless given. */
  readonly cid?: number;
  /** Makes the host's side, e.g. `unixVsock` of `@cloister/virtio/node`. Not used in a replay. */
  readonly host: (ports: VsockHostPorts) => VsockHost;
}

const NAME = 'vsock0';
/** Bytes of events that wait for the guest; the host holds its data back beyond. */
const BOUND = 16 * 2 ** 20;

export function virtioVsock(options: VsockOptions): VmPlugin {
  const { cid = VSOCK_CID } = options;
  if (!Number.isInteger(cid) || cid < 3 || cid > 0xffff_fffe) {
    throw new VmmError('invalid-argument', `${cid} is no address of a guest`, {
      remedy: 'give a cid from 3 to 4294967294',
    });
  }
  return virtioDevice('virtio-vsock', ({ input, clock, onStart }) => {
    const source = input.source(NAME, (event) => model.receive(event), BOUND);
    const host = input.replaying
      ? NO_HOST
      : options.host({
          push: (event) => source.push(encodeEvent(event), 'given'),
          onRoom: (listener) => source.onRoom(listener),
        });
    const model: VsockModel = vsockModel(cid, { clock, host });
    onStart(async () => {
      await host.start();
      // Connections may come at any time.
      source.setLive(true);
    });
    return model;
  });
}
