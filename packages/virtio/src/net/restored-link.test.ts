// The link of a restored network device: that of the backend that is there now.
import { FakeClock } from '@cloister/core/testing';
import { expect, it } from 'vitest';
import { DirectInput } from '../testing/direct-input.js';
import type { NetBackend, NetPort } from './backend.js';
import { HostLine } from './host-line.js';

function rig(input = new DirectInput()) {
  const clock = new FakeClock();
  const seen: string[] = [];
  let port: NetPort | undefined;
  const backend: NetBackend = {
    kind: 'test',
    mtu: 1500,
    open: (end) => {
      port = end;
    },
    send() {},
    close() {},
  };
  const line = new HostLine('net0', {
    input,
    clock,
    backend,
    receive() {},
    sent: (cost) => void seen.push(`sent ${cost}`),
    setLink: (up) => void seen.push(up ? 'up' : 'down'),
  });
  return { line, clock, seen, port: () => port! };
}

it('is up in a new process, though it was down when the VM was saved', async () => {
  const { line, clock, seen } = rig();
  await line.open();
  line.restored(0);
  // Not before the input that was saved is there.
  expect(seen).toEqual([]);
  clock.advance(1);
  expect(seen).toEqual(['up']);
});

it('is down where this backend has no network', async () => {
  const { line, clock, seen, port } = rig();
  await line.open();
  port().setLink(false);
  line.restored(70);
  clock.advance(1);
  expect(seen).toEqual(['down', 'sent 70', 'down']);
  port().setLink(true);
  line.restored(0);
  clock.advance(1);
  expect(seen.slice(3)).toEqual(['up', 'up']);
});

it('is the recording’s in a replay', async () => {
  const input = new DirectInput();
  input.replaying = true;
  const { line, clock, seen, port } = rig(input);
  await line.open();
  expect(port()).toBeUndefined();
  line.restored(70);
  clock.advance(1);
  expect(seen).toEqual([]);
});
