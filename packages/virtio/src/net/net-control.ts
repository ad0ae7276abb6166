/**
 * Commands of the control queue: what the driver says about receiving.
 *
 * Source: virtio 1.2, 5.1.6.5: class and command (8 bits each), data, then room for an ack.
 */

import { isGroup, macAt } from './frames.js';
import { ADDRESSES_MAX, type AddressTable, type NetFilter, RX_MODES } from './net-filter.js';

const CLASS_RX = 0;
const CLASS_MAC = 1;
const CLASS_VLAN = 2;

const MAC_TABLE_SET = 0;
const MAC_ADDR_SET = 1;
const VLAN_ADD = 0;
const VLAN_DEL = 1;

const COUNT_SIZE = 4;
const MAC_SIZE = 6;
const VLAN_MAX = 4095;

/** Longest command that is read: two tables of many more addresses than are kept. */
export const COMMAND_MAX = 65_536;

/** What commands act on, and which of them were negotiated. */
export interface ControlTarget {
  readonly filter: NetFilter;
  readonly rx: boolean;
  readonly rxExtra: boolean;
  readonly macAddress: boolean;
  readonly vlan: boolean;
  setMac(mac: Uint8Array): void;
}

/** The modes that come with CTRL_RX; the others need CTRL_RX_EXTRA. */
const BASIC_MODES = 2;

/** Carries out a command; false when it is none. */
export function control(command: Uint8Array, target: ControlTarget): boolean {
  const [kind, code = 0] = command;
  const data = command.subarray(2);
  switch (kind) {
    case CLASS_RX:
      return setMode(code, data, target);
    case CLASS_MAC:
      if (code === MAC_TABLE_SET) return target.rx && setTables(data, target.filter);
      return code === MAC_ADDR_SET && setMac(data, target);
    case CLASS_VLAN:
      return setVlan(code, data, target);
    default:
      return false;
  }
}

function setMode(code: number, data: Uint8Array, target: ControlTarget): boolean {
  const mode = RX_MODES[code];
  const [on] = data;
  const offered = code < BASIC_MODES ? target.rx : target.rxExtra;
  if (mode === undefined || !offered || data.length !== 1) return false;
  target.filter.setMode(mode, on !== 0);
  return true;
}

function setTables(data: Uint8Array, filter: NetFilter): boolean {
  const unicast = tableAt(data, 0);
  if (unicast === null) return false;
  const multicast = tableAt(data, unicast.end);
  if (multicast === null || multicast.end !== data.length) return false;
  filter.setTables(unicast.table, multicast.table);
  return true;
}

/** struct virtio_net_ctrl_mac: le32 entries, then the addresses. */
function tableAt(data: Uint8Array, start: number): { table: AddressTable; end: number } | null {
  if (start + COUNT_SIZE > data.length) return null;
  const count = new DataView(data.buffer, data.byteOffset).getUint32(start, true);
  const first = start + COUNT_SIZE;
  const end = first + count * MAC_SIZE;
  if (end > data.length) return null;
  if (count > ADDRESSES_MAX) return { table: { addresses: [], overflow: true }, end };
  const addresses = Array.from({ length: count }, (_, index) => macAt(data, first + 6 * index));
  return { table: { addresses, overflow: false }, end };
}

function setMac(data: Uint8Array, target: ControlTarget): boolean {
  if (!target.macAddress || data.length !== MAC_SIZE || isGroup(macAt(data, 0))) return false;
  target.setMac(data);
  return true;
}

function setVlan(code: number, data: Uint8Array, target: ControlTarget): boolean {
  const id = data[0]! + data[1]! * 256;
  if (!target.vlan || data.length !== 2 || id > VLAN_MAX) return false;
  if (code !== VLAN_ADD && code !== VLAN_DEL) return false;
  target.filter.setVlan(id, code === VLAN_ADD);
  return true;
}
