/**
 * virtio socket device: stream sockets between the guest and programs of the host.
 *
 * Source: virtio 1.2, 5.10. Queues: 0 to the guest, 1 from it, 2 events. What the host does comes
 * as events (`vsock-host.ts`). Each connection has a window of 64 KiB in both directions; there are
 * at most 1024 of them, and at most 256 refusals wait for a buffer: then the guest's packets wait.
 * Connections are no part of a saved VM: a restored guest that had any is told of a reset.
 *
 * Known inaccuracies: no SEQPACKET. Packets from or to a wrong address are dropped, as Linux's
 * vhost does. What still comes for a guest that receives no more (SHUTDOWN_RCV) is thrown away.
 */
import type { Clock, Timer } from '@cloister/core';
import { state } from '@cloister/core/devices';
import type { VirtioModel, VirtioPort } from '../device/model.js';
import { byteLength, type Chain } from '../queue/chain.js';
import type { Virtqueue } from '../queue/virtqueue.js';
import { Connection, type Outgoing } from './connection.js';
import { ConnectionTable } from './connection-table.js';
import { decodeEvent, VSOCK_CONNECTIONS, VSOCK_WINDOW, type VsockHost } from './vsock-host.js';
import * as P from './vsock-packet.js';

export const VSOCK_DEVICE_ID = 19;
export const VSOCK_F_STREAM = 0;
/** A guest's address unless another is given. */
export const VSOCK_CID = 3;

const QUEUE_SIZE = 128;
const RX = 0;
const TX = 1;
const EVENT = 2;
const REFUSALS_MAX = 256;
/** Ports that host programs seem to come from: beyond those that Linux gives out by itself. */
const HOST_PORT_FIRST = 2 ** 30;
const LATER_NS = 1000;
const NO_DATA = new Uint8Array(0);

export interface VsockPorts {
  readonly clock: Clock;
  readonly host: VsockHost;
}

export interface VsockModel extends VirtioModel<object> {
  /** Takes an event of the host's, as `encodeEvent` writes it. */
  receive(event: Uint8Array): void;
}

/** A connection that is not there: the packet that ends it at the guest. */
interface Refusal {
  guestPort: number;
  hostPort: number;
  type: number;
}

interface State {
  nextPort: number;
  /** Number of the guest's last connection. */
  lastId: number;
  refusals: Refusal[];
  /** There are connections, or the guest has not yet been told that they are gone. */
  resetDue: boolean;
}

class Vsock implements VirtioModel<State> {
  readonly name = 'vsock0';
  readonly deviceId = VSOCK_DEVICE_ID;
  /** Other communication controller. */
  readonly pciClass = 0x078000;
  readonly features = [VSOCK_F_STREAM];
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE];
  /** guest_cid, le64. */
  readonly config = new Uint8Array(8);
  readonly state: state.Field<State> = state.record<State>({
    nextPort: state.u32,
    lastId: state.int(0, Number.MAX_SAFE_INTEGER),
    refusals: state.listUpTo(
      state.record<Refusal>({ guestPort: state.u32, hostPort: state.u32, type: state.u16 }),
      // Each connection that the host breaks is one more.
      REFUSALS_MAX + VSOCK_CONNECTIONS,
    ),
    resetDue: state.bool,
  });
  private port: VirtioPort | null = null;
  private running = false;
  private s: State = fresh();
  private readonly connections = new ConnectionTable();
  /** The guest's packets wait until refusals are sent. */
  private stalled = false;
  private timer: Timer | null = null;

  constructor(
    cid: number,
    private readonly ports: VsockPorts,
  ) {
    new DataView(this.config.buffer).setBigUint64(0, BigInt(cid), true);
  }

  connect(port: VirtioPort): void {
    this.port = port;
  }

  activate(): void {
    this.running = true;
  }

  notify(index: number): void {
    if (index === TX) this.take();
    if (index === EVENT) this.tellReset();
    this.fill();
  }

  // --- From the guest

  private take(): void {
    const queue = this.port!.queue(TX);
    this.stalled = false;
    while (this.running) {
      // Refusals need buffers of the guest's: without them it is not listened to (5.10.6.1).
      this.stalled = this.s.refusals.length >= REFUSALS_MAX;
      const chain = this.stalled ? null : queue.pop();
      if (chain === null) break;
      this.packet(queue, chain);
      queue.push(chain, 0);
    }
    queue.signal();
  }

  private packet(queue: Virtqueue, chain: Chain): void {
    const bytes = new Uint8Array(P.VSOCK_HEADER);
    const length = byteLength(chain.readable) - P.VSOCK_HEADER;
    const header = queue.read(chain, 0, bytes) ? P.decodeHeader(bytes) : null;
    if (header === null || header.length > length) {
      this.fail('a packet of the socket device is shorter than it says');
      return;
    }
    const ours = header.destinationCid === BigInt(P.CID_HOST) && header.sourceCid === this.cid;
    if (!ours) return;
    const { sourcePort: guestPort, destinationPort: hostPort, op, type } = header;
    const connection = this.connections.between(guestPort, hostPort);
    if (op === P.OP_RST) {
      if (connection !== undefined) this.drop(connection);
    } else if (type !== P.TYPE_STREAM) {
      this.refuse({ guestPort, hostPort, type });
    } else if (connection !== undefined) {
      this.connected(connection, header, (data) => queue.read(chain, P.VSOCK_HEADER, data));
    } else if (op === P.OP_REQUEST) {
      this.requested(header);
    } else this.refuse({ guestPort, hostPort, type });
  }

  private requested(header: P.VsockHeader): void {
    const { sourcePort: guestPort, destinationPort: hostPort, type } = header;
    if (this.connections.size >= VSOCK_CONNECTIONS) {
      this.refuse({ guestPort, hostPort, type });
      return;
    }
    this.s.lastId = Math.max(this.s.lastId + 2, this.idOfNow);
    const connection = this.connections.add(new Connection(this.s.lastId, guestPort, hostPort));
    connection.credit(header);
    this.ports.host.connect(connection.id, hostPort);
  }

  private connected(
    connection: Connection,
    header: P.VsockHeader,
    read: (data: Uint8Array) => boolean,
  ): void {
    const { host } = this.ports;
    const { op, length, flags } = header;
    connection.credit(header);
    if (op === P.OP_RESPONSE && !connection.isOpen && isHosts(connection)) {
      connection.isOpen = true;
      host.accept(connection.id, connection.hostPort);
      host.grant(connection.id, VSOCK_WINDOW);
    } else if (op === P.OP_RW && connection.isOpen) {
      // Who sends without credit, or after the end, is cut off.
      const ended = (connection.guestEnded & P.SHUTDOWN_SEND) !== 0;
      const data = !ended && connection.receive(length) ? new Uint8Array(length) : null;
      if (data === null || !read(data)) this.abort(connection);
      else if (length > 0) host.send(connection.id, data);
    } else if (op === P.OP_SHUTDOWN && connection.isOpen) {
      this.shutDown(connection, flags);
    } else if (op === P.OP_CREDIT_REQUEST && connection.isOpen) {
      connection.askForUpdate();
    } else if (op !== P.OP_CREDIT_UPDATE) this.abort(connection);
    this.connections.touch(connection);
  }

  private shutDown(connection: Connection, flags: number): void {
    const { host } = this.ports;
    const ended = connection.guestEnded | (flags & (P.SHUTDOWN_RCV | P.SHUTDOWN_SEND));
    const added = ended & ~connection.guestEnded;
    connection.guestEnded = ended;
    // 5.10.6.5: the answer to the end of both directions is a reset.
    if (ended === (P.SHUTDOWN_RCV | P.SHUTDOWN_SEND)) this.abort(connection);
    else if (added === P.SHUTDOWN_SEND) host.end(connection.id);
    else if (added === P.SHUTDOWN_RCV) host.grant(connection.id, connection.dropWaiting());
  }

  // --- From the host

  receive(bytes: Uint8Array): void {
    const event = decodeEvent(bytes);
    if (event === null) return;
    const { id } = event;
    if (event.kind === 'open') {
      this.opened(id, event.port);
      this.fill();
      return;
    }
    const connection = this.connections.get(id);
    if (connection === undefined) return;
    if (event.kind === 'connected') this.accepted(connection);
    else if (event.kind === 'sent') connection.forward(event.bytes);
    else if (event.kind === 'end') connection.hostEnded = true;
    else if (event.kind === 'closed') this.hostClosed(connection);
    else this.keep(connection, event.data);
    this.connections.touch(connection);
    this.fill();
  }

  private opened(id: number, guestPort: number): void {
    const { connections } = this;
    const full = connections.size >= VSOCK_CONNECTIONS || connections.get(id) !== undefined;
    if (!this.running || full || id % 2 === 0) {
      this.ports.host.close(id);
      return;
    }
    let hostPort = this.s.nextPort;
    const next = (port: number) => (port === 0xffffffff ? HOST_PORT_FIRST : port + 1);
    while (connections.between(guestPort, hostPort)) hostPort = next(hostPort);
    this.s.nextPort = next(hostPort);
    const connection = connections.add(new Connection(id, guestPort, hostPort));
    connection.say(P.OP_REQUEST);
    connections.touch(connection);
  }

  private accepted(connection: Connection): void {
    if (connection.isOpen || isHosts(connection)) return;
    connection.isOpen = true;
    connection.say(P.OP_RESPONSE);
    this.ports.host.grant(connection.id, VSOCK_WINDOW);
  }

  private hostClosed(connection: Connection): void {
    // The guest still gets what the host had sent.
    if (connection.isOpen) connection.hostClosed = true;
    else connection.say(P.OP_RST);
  }

  private keep(connection: Connection, data: Uint8Array): void {
    const deaf = (connection.guestEnded & P.SHUTDOWN_RCV) !== 0;
    if (deaf) this.ports.host.grant(connection.id, data.length);
    else if (!connection.keep(data)) this.abort(connection);
  }

  // --- To the guest

  /** Sends what waits, as far as the guest has buffers. */
  private fill(): void {
    const queue = this.port!.queue(RX);
    while (this.s.refusals.length > 0 || this.connections.next !== undefined) {
      const chain = queue.pop();
      if (chain === null) break;
      const space = byteLength(chain.writable) - P.VSOCK_HEADER;
      const written = space < 0 ? null : this.sendOne(queue, chain, space);
      if (written === null) {
        this.fail('a receive buffer of the socket device is too small, or cannot be written');
        return;
      }
      queue.push(chain, written);
    }
    queue.signal();
    if (this.stalled && this.s.refusals.length < REFUSALS_MAX) this.later();
  }

  /** Writes one packet to a buffer; returns its bytes, or null where that fails. */
  private sendOne(queue: Virtqueue, chain: Chain, space: number): number | null {
    const refusal = this.s.refusals.shift();
    if (refusal !== undefined) {
      const packet = { op: P.OP_RST, flags: 0, data: NO_DATA };
      return this.write(queue, chain, { ...refusal, fwdCnt: 0 }, packet);
    }
    const connection = this.connections.next!;
    const packet = connection.next(space)!;
    const { guestPort, hostPort } = connection;
    const fwdCnt = connection.tell();
    // Data without room for a byte of it would go on for ever.
    if (packet.op === P.OP_RW && packet.data.length === 0) return null;
    if (packet.op === P.OP_RST) this.drop(connection);
    else this.connections.served(connection);
    if (packet.op === P.OP_RW) this.ports.host.grant(connection.id, packet.data.length);
    return this.write(queue, chain, { guestPort, hostPort, type: P.TYPE_STREAM, fwdCnt }, packet);
  }

  private write(
    queue: Virtqueue,
    chain: Chain,
    from: Refusal & { fwdCnt: number },
    { op, flags, data }: Outgoing,
  ): number | null {
    const header = P.encodeHeader({
      sourceCid: BigInt(P.CID_HOST),
      destinationCid: this.cid,
      sourcePort: from.hostPort,
      destinationPort: from.guestPort,
      length: data.length,
      type: from.type,
      op,
      flags,
      bufAlloc: VSOCK_WINDOW,
      fwdCnt: from.fwdCnt,
    });
    const written = queue.write(chain, 0, header) && queue.write(chain, P.VSOCK_HEADER, data);
    return written ? P.VSOCK_HEADER + data.length : null;
  }

  private tellReset(): void {
    if (!this.s.resetDue || this.connections.size > 0) return;
    const queue = this.port!.queue(EVENT);
    const chain = queue.pop();
    if (chain === null) return;
    const event = new Uint8Array(4);
    new DataView(event.buffer).setUint32(0, P.EVENT_TRANSPORT_RESET, true);
    if (!queue.write(chain, 0, event)) {
      this.fail('an event buffer of the socket device cannot be written');
      return;
    }
    this.s.resetDue = false;
    queue.push(chain, event.length);
    queue.signal();
  }

  // --- Connections

  private get cid(): bigint {
    return new DataView(this.config.buffer).getBigUint64(0, true);
  }

  private refuse(refusal: Refusal): void {
    this.s.refusals.push(refusal);
  }

  /** Ends a connection on both sides. */
  private abort(connection: Connection): void {
    const { guestPort, hostPort } = connection;
    this.drop(connection);
    this.refuse({ guestPort, hostPort, type: P.TYPE_STREAM });
  }

  private drop(connection: Connection): void {
    this.connections.remove(connection);
    this.ports.host.close(connection.id);
  }

  private dropAll(): void {
    this.connections.clear();
    this.ports.host.reset(Math.max(this.s.lastId, this.idOfNow));
  }

  /**
   * An even number that grows with virtual time, half a microsecond each: with it as their least,
   * numbers of connections were never used before, not even before the VM was saved.
   */
  private get idOfNow(): number {
    return 2 * Math.floor(this.ports.clock.now() / 1024);
  }

  /** Looks at all queues a moment later. */
  private later(): void {
    const { clock } = this.ports;
    this.timer ??= clock.at(clock.now() + LATER_NS, () => {
      this.timer = null;
      this.tellReset();
      this.take();
      this.fill();
    });
  }

  private fail(reason: string): void {
    this.running = false;
    this.dropAll();
    this.port!.needsReset(reason);
  }

  reset(): void {
    this.running = false;
    this.stalled = false;
    this.s = { ...fresh(), lastId: this.s.lastId };
    this.timer?.cancel();
    this.timer = null;
    this.dropAll();
  }

  save(): State {
    const { refusals, resetDue } = this.s;
    return {
      ...this.s,
      refusals: structuredClone(refusals),
      resetDue: resetDue || this.connections.size > 0,
    };
  }

  load(saved: State): void {
    this.reset();
    // The guest's numbers are even, whatever a damaged record says.
    this.s = { ...saved, lastId: 2 * Math.floor(saved.lastId / 2) };
    this.running = this.port!.running;
    // Its packets may have been waiting.
    if (this.running) this.later();
  }

  dispose(): Promise<void> {
    this.timer?.cancel();
    return this.ports.host.dispose();
  }
}

/** Begun by a program of the host's. */
function isHosts({ id }: Connection): boolean {
  return id % 2 === 1;
}

function fresh(): State {
  return { nextPort: HOST_PORT_FIRST, lastId: 0, refusals: [], resetDue: false };
}

/** A socket device for a guest with address `cid`, from 3 to 2^32 - 2. */
export function vsockModel(cid: number, ports: VsockPorts): VsockModel {
  return new Vsock(cid, ports) as unknown as VsockModel;
}
