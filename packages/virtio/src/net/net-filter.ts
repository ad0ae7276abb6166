/**
 * Which frames a network device gives to its guest: receive mode, address tables, VLANs.
 *
 * Source: virtio 1.2, 5.1.6.5.1 (modes), 5.1.6.5.2 (address tables), 5.1.6.5.3 (VLANs). The
 * promiscuous mode, which is on until the driver says otherwise, lets everything pass.
 */
import { state } from '@cloister/core/devices';
import { BROADCAST, ETHERNET_HEADER, isGroup, macAt } from './frames.js';

/** Addresses of one kind that are kept; with more, all of the kind pass. */
export const ADDRESSES_MAX = 64;
const VLANS = 4096;
const TYPE_VLAN = 0x8100;

/** The modes, each a command of class 0. */
export const RX_MODES = ['promisc', 'allmulti', 'alluni', 'nomulti', 'nouni', 'nobcast'] as const;
export type RxMode = (typeof RX_MODES)[number];

/** A table of addresses; `overflow` stands for more than are kept. */
export interface AddressTable {
  addresses: number[];
  overflow: boolean;
}

export interface FilterState {
  modes: boolean[];
  unicast: AddressTable;
  multicast: AddressTable;
  /** One bit for each VLAN, set where it passes. */
  vlans: Uint8Array;
}

const tableField = state.record<AddressTable>({
  addresses: state.listUpTo(state.int(0, BROADCAST), ADDRESSES_MAX),
  overflow: state.bool,
});

export const filterField: state.Field<FilterState> = state.record<FilterState>({
  modes: state.list(state.bool, RX_MODES.length),
  unicast: tableField,
  multicast: tableField,
  vlans: state.bytes(VLANS / 8, true),
});

export class NetFilter {
  private s: FilterState = powerOn();

  setMode(mode: RxMode, on: boolean): void {
    this.s.modes[RX_MODES.indexOf(mode)] = on;
  }

  setTables(unicast: AddressTable, multicast: AddressTable): void {
    this.s.unicast = unicast;
    this.s.multicast = multicast;
  }

  setVlan(id: number, passes: boolean): void {
    const bit = 1 << (id & 7);
    if (passes) this.s.vlans[id >> 3]! |= bit;
    else this.s.vlans[id >> 3]! &= ~bit;
  }

  /** Whether the guest gets a frame. `mac` is the device's; VLANs count only where `vlans`. */
  passes(frame: Uint8Array, mac: Uint8Array, vlans: boolean): boolean {
    if (frame.length < ETHERNET_HEADER) return false;
    if (this.is('promisc')) return true;
    if (vlans && !this.passesVlan(frame)) return false;
    const target = macAt(frame, 0);
    if (target === BROADCAST) return !this.is('nobcast');
    return isGroup(target) ? this.passesGroup(target) : this.passesUnicast(target, mac);
  }

  private passesGroup(target: number): boolean {
    const { addresses, overflow } = this.s.multicast;
    if (this.is('nomulti')) return false;
    return overflow || this.is('allmulti') || addresses.includes(target);
  }

  private passesUnicast(target: number, mac: Uint8Array): boolean {
    const { addresses, overflow } = this.s.unicast;
    if (this.is('nouni')) return false;
    if (overflow || this.is('alluni')) return true;
    return target === macAt(mac, 0) || addresses.includes(target);
  }

  private passesVlan(frame: Uint8Array): boolean {
    if (((frame[12]! << 8) | frame[13]!) !== TYPE_VLAN) return true;
    const id = ((frame[14] ?? 0) & 0x0f) * 256 + (frame[15] ?? 0);
    return ((this.s.vlans[id >> 3]! >> (id & 7)) & 1) !== 0;
  }

  private is(mode: RxMode): boolean {
    return this.s.modes[RX_MODES.indexOf(mode)]!;
  }

  reset(): void {
    this.s = powerOn();
  }

  save(): FilterState {
    return structuredClone(this.s);
  }

  load(saved: FilterState): void {
    this.s = saved;
  }
}

function powerOn(): FilterState {
  const none = () => ({ addresses: [], overflow: false });
  return {
    modes: RX_MODES.map((mode) => mode === 'promisc'),
    unicast: none(),
    multicast: none(),
    vlans: new Uint8Array(VLANS / 8),
  };
}
