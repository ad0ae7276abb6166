// Credit of a connection beyond 4 GiB, where its counters begin anew; pieces of the host's data.
import { expect, it } from 'vitest';
import { Connection } from './connection.js';
import { VSOCK_WINDOW } from './vsock-host.js';
import * as P from './vsock-packet.js';

/** So many windows are 4 GiB, and one more. */
const LAPS = 2 ** 32 / VSOCK_WINDOW + 1;
/** All of 4 GiB is copied only in a full run. */
const COPIED = process.env['CLOISTER_FULL'] === '1' ? LAPS : 300;

function opened(): Connection {
  const connection = new Connection(2, 1000, 52);
  connection.isOpen = true;
  return connection;
}

const credit = (fwdCnt: number) => ({ bufAlloc: VSOCK_WINDOW, fwdCnt }) as P.VsockHeader;

it('takes a window of the guest’s data at any count', () => {
  const connection = opened();
  for (let lap = 0; lap < LAPS; lap++) {
    connection.receive(VSOCK_WINDOW - 1);
    if (!connection.receive(1) || connection.receive(1)) expect.fail(`lap ${lap}`);
    connection.forward(VSOCK_WINDOW);
    if (connection.wanted() !== P.OP_CREDIT_UPDATE) expect.fail(`no update, lap ${lap}`);
    const told = connection.tell();
    if (told !== ((lap + 1) * VSOCK_WINDOW) % 2 ** 32) expect.fail(`${told}, lap ${lap}`);
  }
});

it('gives the guest a window of data at any count', () => {
  const connection = opened();
  const data = new Uint8Array(VSOCK_WINDOW);
  let taken = 0;
  for (let lap = 0; lap < COPIED; lap++) {
    connection.credit(credit(taken));
    if (!connection.keep(data) || connection.keep(data)) expect.fail(`lap ${lap}`);
    const packet = connection.next(2 ** 20);
    if (packet?.data.length !== VSOCK_WINDOW) expect.fail(`lap ${lap}`);
    taken = (taken + VSOCK_WINDOW) % 2 ** 32;
    if (connection.wanted() !== null) expect.fail(`more, lap ${lap}`);
  }
});

it('gives nothing to a guest that says it took more than it got', () => {
  const connection = opened();
  connection.credit(credit(1));
  connection.keep(Uint8Array.of(1));
  expect(connection.wanted()).toBe(P.OP_CREDIT_REQUEST);
});

it('joins short pieces, in order, and leaves long ones', () => {
  const connection = opened();
  connection.credit(credit(0));
  const all = Uint8Array.from({ length: 3000 }, (_, index) => index);
  for (const byte of all) connection.keep(Uint8Array.of(byte));
  const got: number[] = [];
  let packets = 0;
  for (let each = connection.next(4096); each !== null; each = connection.next(4096)) {
    got.push(...each.data);
    packets++;
  }
  expect(got).toEqual([...all]);
  expect(packets).toBe(3);
});
