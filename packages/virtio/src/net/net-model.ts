/**
 * virtio network device: frames out, frames in, and what the driver says about receiving.
 *
 * Source: virtio 1.2, 5.1. One pair of queues and the control queue. Nothing here knows the
 * network: frames leave through `NetPorts.send` and come by `receive`, in batches (`frames.ts`).
 *
 * No more than a window of bytes is at the host: what was sent comes off it when `sent` says that
 * it went on, and until then the transmit queue waits. So whether a frame is taken depends on what
 * came by the input port alone, and a recorded run replays. Frames for which the driver has no
 * buffer wait; the source is held meanwhile.
 *
 * Known inaccuracies: one pair of queues (no MQ, no RSS); no checksum and segmentation offloads, as
 * no backend has them; no announcements.
 */
import type { Clock } from '@cloister/core';
import { state } from '@cloister/core/devices';
import type { FeatureSet } from '../device/features.js';
import type { VirtioModel, VirtioPort } from '../device/model.js';
import type { RateLimit } from '../device/rate-limiter.js';
import { byteLength, type Chain, chainField } from '../queue/chain.js';
import type { UsedChain, Virtqueue } from '../queue/virtqueue.js';
import * as Frames from './frames.js';
import { COMMAND_MAX, control } from './net-control.js';
import { type FilterState, filterField, NetFilter } from './net-filter.js';
import { type Pace, Pacer, paceField } from './pacer.js';

export const NET_DEVICE_ID = 1;

export const NET_F_MTU = 3;
export const NET_F_MAC = 5;
export const NET_F_MRG_RXBUF = 15;
export const NET_F_STATUS = 16;
export const NET_F_CTRL_VQ = 17;
export const NET_F_CTRL_RX = 18;
export const NET_F_CTRL_VLAN = 19;
export const NET_F_CTRL_RX_EXTRA = 20;
export const NET_F_CTRL_MAC_ADDR = 23;

/** Features that need the control queue (5.1.3.1). */
const CONTROLLED = [NET_F_CTRL_RX, NET_F_CTRL_VLAN, NET_F_CTRL_RX_EXTRA, NET_F_CTRL_MAC_ADDR];

export const RECEIVE = 0;
export const TRANSMIT = 1;
export const CONTROL = 2;
const QUEUE_SIZE = 256;
const CONTROL_SIZE = 64;

/** struct virtio_net_hdr (5.1.6), num_buffers included as VERSION_1 has it. */
export const HEADER_SIZE = 12;
const NUM_BUFFERS = 10;

/** Fields of the configuration (5.1.4). */
const MAC = 0;
const MAC_SIZE = 6;
const STATUS = 6;
const MTU = 10;
const CONFIG_SIZE = 12;
const S_LINK_UP = 1;

const ACK_OK = 0;
const ACK_ERR = 1;

/** Bytes that may be at the host. */
export const WINDOW = 1024 * 1024;
/** What a frame costs of it besides its bytes, so that many short ones are bounded too. */
const FRAME_COST = 64;
/** The longest batch that is received; whatever a device sends at once is shorter. */
export const RECEIVE_MAX = 2 * WINDOW;

/** The smallest MTU of an IPv4 host, and the largest that a frame has room for. */
export const MTU_MIN = 68;
export const MTU_MAX = 65_535;

export interface NetOptions {
  /** Unique in a VM; `net0` unless given. */
  readonly name?: string;
  /** Six bytes, not a group's. */
  readonly mac: Uint8Array;
  /** Largest payload of a frame; 1500 unless given. */
  readonly mtu?: number;
  /** Limits each direction. */
  readonly rateLimit?: RateLimit;
}

export interface NetPorts {
  readonly clock: Clock;
  /** Takes frames of the guest; `cost` is what `sent` has to give back for them. */
  send(batch: Uint8Array, cost: number): void;
  /** Frames can be received (true), or some wait. */
  room(has: boolean): void;
  /** A saved state was taken over in which so much of the window was at the host. */
  restored(cost: number): void;
}

export interface NetModel extends VirtioModel<object> {
  /** Frames from the network, to be called when there is room. */
  receive(batch: Uint8Array): void;
  /** So much of what was sent is not at the host any more. */
  sent(cost: number): void;
  setLink(up: boolean): void;
}

interface State {
  active: boolean;
  mac: Uint8Array;
  filter: FilterState;
  /** Bytes at the host. */
  outside: number;
  /** The batch that is being received, from the next frame on. */
  waiting: Uint8Array;
  /** Buffers that were taken for a frame that needs more. */
  buffers: Chain[];
  receive: Pace;
  transmit: Pace;
}

const NOTHING = new Uint8Array(0);

class Net implements VirtioModel<State> {
  readonly name: string;
  readonly deviceId = NET_DEVICE_ID;
  /** Ethernet controller. */
  readonly pciClass = 0x020000;
  readonly features = [
    ...[NET_F_MTU, NET_F_MAC, NET_F_MRG_RXBUF, NET_F_STATUS, NET_F_CTRL_VQ, ...CONTROLLED],
  ];
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE, CONTROL_SIZE];
  readonly config = new Uint8Array(CONFIG_SIZE);
  readonly state: state.Field<State> = state.record<State>({
    active: state.bool,
    mac: state.bytes(MAC_SIZE, true),
    filter: filterField,
    outside: state.int(0, 2 * WINDOW),
    waiting: state.bytes(RECEIVE_MAX),
    buffers: state.listUpTo(chainField, QUEUE_SIZE),
    receive: paceField,
    transmit: paceField,
  });
  private readonly view = new DataView(this.config.buffer);
  private readonly filter = new NetFilter();
  private readonly receivePace: Pacer;
  private readonly transmitPace: Pacer;
  private readonly batch = new Frames.BatchWriter();
  private readonly header = new Uint8Array(HEADER_SIZE);
  private port: VirtioPort | null = null;
  private mac: Uint8Array;
  private isActive = false;
  private outside = 0;
  private waiting: Uint8Array = NOTHING;
  private buffers: Chain[] = [];

  constructor(
    options: NetOptions,
    private readonly ports: NetPorts,
  ) {
    const { name = 'net0', mac, mtu = 1500, rateLimit } = options;
    this.name = name;
    this.mac = mac;
    this.config.set(mac, MAC);
    this.view.setUint16(STATUS, S_LINK_UP, true);
    this.view.setUint16(MTU, mtu, true);
    this.receivePace = new Pacer(rateLimit, ports.clock, () => this.fill());
    this.transmitPace = new Pacer(rateLimit, ports.clock, () => this.transmit());
  }

  connect(port: VirtioPort): void {
    this.port = port;
  }

  accepts(features: FeatureSet): boolean {
    return features.has(NET_F_CTRL_VQ) || !CONTROLLED.some((each) => features.has(each));
  }

  activate(): void {
    this.isActive = true;
  }

  notify(index: number): void {
    if (index === TRANSMIT) this.transmit();
    else if (index === RECEIVE) this.fill();
    else this.takeCommands();
  }

  // --- Out

  sent(cost: number): void {
    this.outside = Math.max(0, this.outside - cost);
    if (this.isActive) this.transmit();
  }

  private transmit(): void {
    const queue = this.port!.queue(TRANSMIT);
    const before = this.outside;
    while (this.outside < WINDOW && this.transmitPace.isOpen) {
      const chain = queue.pop();
      if (chain === null) break;
      if (!this.takeFrame(queue, chain)) break;
      queue.push(chain, 0);
    }
    queue.signal();
    if (this.batch.length > 0) this.ports.send(this.batch.take(), this.outside - before);
  }

  /** Adds a frame to the batch; false when the device has failed. */
  private takeFrame(queue: Virtqueue, chain: Chain): boolean {
    const length = byteLength(chain.readable) - HEADER_SIZE;
    if (chain.writable.length > 0 || length < 0 || length > Frames.FRAME_MAX) {
      this.port!.needsReset('what a network driver sends is not a header and a frame');
      return false;
    }
    // Too short to be a frame: dropped, as a wire would.
    if (length < Frames.ETHERNET_HEADER) return true;
    this.outside += length + FRAME_COST;
    this.transmitPace.take(length);
    if (queue.read(chain, HEADER_SIZE, this.batch.room(length))) return true;
    this.port!.needsReset('a frame is not in guest memory');
    return false;
  }

  // --- In

  receive(batch: Uint8Array): void {
    // Without a driver there is nobody to keep a frame for.
    if (!this.isActive) return;
    // A held source brings nothing; what a damaged recording brings all the same is lost.
    if (this.waiting.length === 0) this.waiting = batch.subarray(0, RECEIVE_MAX);
    this.fill();
  }

  /** Gives what waits to the driver's buffers. */
  private fill(): void {
    const queue = this.port!.queue(RECEIVE);
    const vlans = this.port!.has(NET_F_CTRL_VLAN);
    const mac = this.config.subarray(MAC, MAC + MAC_SIZE);
    let at = 0;
    while (this.receivePace.isOpen) {
      const place = Frames.frameAt(this.waiting, at);
      if (place === null) {
        at = this.waiting.length;
        break;
      }
      const { frame, next } = place;
      if (this.filter.passes(frame, mac, vlans)) {
        if (!this.give(queue, frame)) break;
        this.receivePace.take(frame.length);
      }
      at = next;
    }
    queue.signal();
    this.waiting = at === this.waiting.length ? NOTHING : this.waiting.subarray(at);
    this.ports.room(this.waiting.length === 0);
  }

  /** Puts a frame into buffers; false when it has to wait for some. */
  private give(queue: Virtqueue, frame: Uint8Array): boolean {
    const needed = HEADER_SIZE + frame.length;
    const { buffers } = this;
    let room = buffers.reduce((sum, { writable }) => sum + byteLength(writable), 0);
    while (room < needed) {
      // 5.1.6.4: without MRG_RXBUF a frame has one buffer. What does not fit is lost.
      if (buffers.length === 1 && !this.port!.has(NET_F_MRG_RXBUF)) return true;
      const chain = queue.pop();
      if (chain === null) return false;
      const length = byteLength(chain.writable);
      if (chain.readable.length > 0 || length < HEADER_SIZE) {
        this.port!.needsReset('a receive buffer has no room for a header');
        return false;
      }
      buffers.push(chain);
      room += length;
    }
    this.buffers = [];
    return this.spread(queue, frame, buffers);
  }

  /** Fills one buffer after the other, the header at the start of the first one. */
  private spread(queue: Virtqueue, frame: Uint8Array, buffers: readonly Chain[]): boolean {
    const { header } = this;
    header[NUM_BUFFERS] = buffers.length & 0xff;
    header[NUM_BUFFERS + 1] = buffers.length >> 8;
    const used: UsedChain[] = [];
    let done = 0;
    for (const chain of buffers) {
      const first = used.length === 0;
      const start = first ? HEADER_SIZE : 0;
      const part = frame.subarray(done, done + byteLength(chain.writable) - start);
      const written = (!first || queue.write(chain, 0, header)) && queue.write(chain, start, part);
      if (!written) {
        this.port!.needsReset('a receive buffer is not in guest memory');
        return false;
      }
      done += part.length;
      used.push({ chain, written: start + part.length });
    }
    queue.pushTogether(used);
    return true;
  }

  // --- Control

  /** Commands of features that were not negotiated are answered too: with an error. */
  private takeCommands(): void {
    const port = this.port!;
    const queue = port.queue(CONTROL);
    for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
      if (chain.writable.length === 0) {
        port.needsReset('a command of a network driver has no room for an answer');
        return;
      }
      const ack = this.command(queue, chain) ? ACK_OK : ACK_ERR;
      queue.write(chain, 0, Uint8Array.of(ack));
      queue.push(chain, 1);
    }
    queue.signal();
  }

  private command(queue: Virtqueue, chain: Chain): boolean {
    const length = byteLength(chain.readable);
    if (length > COMMAND_MAX) return false;
    const command = new Uint8Array(length);
    queue.spend(Math.ceil(length / 64));
    const port = this.port!;
    return (
      queue.read(chain, 0, command) &&
      control(command, {
        filter: this.filter,
        rx: port.has(NET_F_CTRL_RX),
        rxExtra: port.has(NET_F_CTRL_RX_EXTRA),
        macAddress: port.has(NET_F_CTRL_MAC_ADDR),
        vlan: port.has(NET_F_CTRL_VLAN),
        setMac: (mac) => this.config.set(mac, MAC),
      })
    );
  }

  setLink(up: boolean): void {
    const status = up ? S_LINK_UP : 0;
    if (this.view.getUint16(STATUS, true) === status) return;
    this.view.setUint16(STATUS, status, true);
    this.port!.configChanged();
  }

  // --- Life

  /** What is at the host stays there: the window knows of it. */
  reset(): void {
    this.isActive = false;
    this.waiting = NOTHING;
    this.buffers = [];
    this.filter.reset();
    this.receivePace.reset();
    this.transmitPace.reset();
    this.config.set(this.mac, MAC);
    this.ports.room(true);
  }

  save(): State {
    return {
      active: this.isActive,
      mac: this.mac,
      filter: this.filter.save(),
      outside: this.outside,
      waiting: this.waiting,
      buffers: structuredClone(this.buffers),
      receive: this.receivePace.save(),
      transmit: this.transmitPace.save(),
    };
  }

  load(saved: State): void {
    const { config } = this;
    // The current address is part of the configuration, which is here already.
    const mac = config.slice(MAC, MAC + MAC_SIZE);
    this.reset();
    config.set(mac, MAC);
    this.mac = saved.mac;
    this.filter.load(saved.filter);
    this.outside = saved.outside;
    this.waiting = saved.waiting;
    this.buffers = saved.buffers;
    this.receivePace.load(saved.receive);
    this.transmitPace.load(saved.transmit);
    this.isActive = saved.active;
    this.ports.room(saved.waiting.length === 0);
    this.ports.restored(saved.outside);
  }

  dispose(): void {
    this.receivePace.reset();
    this.transmitPace.reset();
  }
}

/** A network device; `ports` lead to the network. */
export function netModel(options: NetOptions, ports: NetPorts): NetModel {
  return new Net(options, ports) as unknown as NetModel;
}
