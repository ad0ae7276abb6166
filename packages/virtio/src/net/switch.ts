/**
 * An Ethernet switch between the VMs of a process: learns where addresses are, sends what it does
 * not know and what is for groups to all other ports.
 *
 * What a port's VM does not take waits in a bounded queue; with that full, frames for it are lost,
 * as on any switch.
 */
import { VmmError } from '@cloister/core';
import type { NetBackend, NetPort } from './backend.js';
import { BatchWriter, ETHERNET_HEADER, framesOf, isGroup, macAt } from './frames.js';

export interface SwitchOptions {
  /** Largest payload of a frame, the same for all ports; 1500 unless given. */
  readonly mtu?: number;
}

/** A port of a switch, and what it did not pass on. */
export interface SwitchPort extends NetBackend {
  /** Frames for this port's VM that were lost, as too many waited. */
  readonly dropped: number;
}

export interface NetSwitch {
  /** A new port: the backend of one device. */
  port(): SwitchPort;
}

/** Addresses that are known at one time; the one that was heard of first makes room. */
const ADDRESSES_MAX = 1024;
/** Bytes that wait for one port beside what its VM has taken. */
const QUEUE_MAX = 1024 * 1024;

class Port implements SwitchPort {
  readonly kind = 'switch';
  dropped = 0;
  private vm: NetPort | null = null;
  private readonly writer = new BatchWriter();
  private waiting: Uint8Array[] = [];
  private waitingBytes = 0;

  constructor(
    private readonly hub: Hub,
    readonly mtu: number,
  ) {}

  get isConnected(): boolean {
    return this.vm !== null;
  }

  open(vm: NetPort): void {
    if (this.vm !== null) {
      throw new VmmError('invalid-state', 'a port of a switch has one device', {
        remedy: 'make a port for each device',
      });
    }
    this.vm = vm;
    vm.onRoom(() => this.passOn());
    this.hub.connect(this);
  }

  send(batch: Uint8Array): void {
    this.hub.forward(this, batch);
    this.vm?.sent(batch.length);
  }

  /** A frame for this port; gathered until `flush`. */
  add(frame: Uint8Array): void {
    this.writer.add(frame);
  }

  flush(): void {
    if (this.writer.length === 0) return;
    const batch = this.writer.take();
    if (this.waitingBytes > 0 && this.waitingBytes + batch.length > QUEUE_MAX) {
      for (const _ of framesOf(batch)) this.dropped++;
      return;
    }
    this.waiting.push(batch);
    this.waitingBytes += batch.length;
    this.passOn();
  }

  private passOn(): void {
    while (this.vm !== null && this.waiting.length > 0) {
      const [batch] = this.waiting as [Uint8Array];
      if (!this.vm.receive(batch)) return;
      this.waiting.shift();
      this.waitingBytes -= batch.length;
    }
  }

  close(): void {
    this.vm = null;
    this.waiting = [];
    this.waitingBytes = 0;
    this.hub.disconnect(this);
  }
}

class Hub implements NetSwitch {
  private readonly ports = new Set<Port>();
  /** In the order of their last frames. */
  private readonly places = new Map<number, Port>();

  constructor(private readonly mtu: number) {}

  port(): SwitchPort {
    return new Port(this, this.mtu);
  }

  connect(port: Port): void {
    this.ports.add(port);
  }

  disconnect(port: Port): void {
    this.ports.delete(port);
    for (const [mac, place] of this.places) if (place === port) this.places.delete(mac);
  }

  forward(from: Port, batch: Uint8Array): void {
    for (const frame of framesOf(batch)) {
      if (frame.length < ETHERNET_HEADER) continue;
      this.learn(macAt(frame, 6), from);
      const target = macAt(frame, 0);
      const place = isGroup(target) ? undefined : this.places.get(target);
      if (place === undefined) for (const port of this.ports) port !== from && port.add(frame);
      else if (place !== from) place.add(frame);
    }
    for (const port of this.ports) port.flush();
  }

  private learn(mac: number, port: Port): void {
    if (isGroup(mac)) return;
    this.places.delete(mac);
    this.places.set(mac, port);
    if (this.places.size <= ADDRESSES_MAX) return;
    const [oldest] = this.places.keys();
    this.places.delete(oldest!);
  }
}

/** A switch for VMs of this process (and thread). */
export function netSwitch(options: SwitchOptions = {}): NetSwitch {
  return new Hub(options.mtu ?? 1500);
}
