/**
 * What the firmware knows of its platform and guests, and the ports through which it acts. Commands
 * are functions over this record.
 */
import { type GuestStateName, type PlatformStateName, SIZE } from '../abi/commands.js';
import { POLICY } from '../abi/policy.js';
import { STATUS, type Status } from '../abi/status.js';
import type { Hasher } from '../hash/port.js';
import type { FirmwareVersion } from '../measure/launch-measure.js';
import type { TransportKeys } from '../measure/session.js';
import type { AsidTable } from './asids.js';
import type { Entropy } from './entropy.js';
import type { PlatformMemory } from './memory-port.js';
import type { PersistentState, Store } from './persistent.js';
import type { ChipIdentity } from './root.js';
import type { LiveGuestState } from './states.js';

/** What the firmware asks of the processor around it. */
export interface Hardware {
  /** Whether memory encryption is on in every core and memory controller (SYSCFG.MEMENC). */
  encryptionEnabled(): boolean;
  /** Whether the cores take the states of ASIDs that the firmware sets. */
  coresAnswer(): boolean;
}

export interface Guest {
  readonly handle: number;
  readonly policy: number;
  /** Key of its memory, `PAGE_KEY_SIZE` bytes. */
  readonly key: Uint8Array;
  state: LiveGuestState;
  /** 0 while no ASID is its own. */
  asid: number;
  /** Core complexes that it may run on. */
  complexes: number;
  /** The launch digest in the making. */
  digest: Hasher;
  /** The launch digest from LAUNCH_MEASURE on; zeros for a guest that was received. */
  launchDigest: Uint8Array;
  /** What LAUNCH_MEASURE answered, without the nonce. */
  measurement: Uint8Array;
  /** Zeros without a session, as in the firmware's cleared memory. */
  channel: TransportKeys;
}

export interface Platform {
  readonly memory: PlatformMemory;
  readonly chip: ChipIdentity;
  readonly entropy: Entropy;
  readonly hardware: Hardware;
  readonly asids: AsidTable;
  readonly flash: Store;
  /** How many guests there may be. */
  readonly guestsMax: number;
  version: FirmwareVersion;
  state: PlatformStateName;
  /** Whether INIT enabled SEV-ES. */
  es: boolean;
  /** Trusted memory region that INIT took for SEV-ES. */
  tmr: { readonly spa: number; readonly length: number } | null;
  /** Where keys are kept since INIT or INIT_EX. */
  store: Store;
  /** Keys and certificates, from INIT to SHUTDOWN. */
  keys: PersistentState | null;
  readonly guests: Map<number, Guest>;
}

export const NO_CHANNEL: TransportKeys = { tek: new Uint8Array(16), tik: new Uint8Array(16) };

export const isEs = ({ policy }: Guest): boolean => (policy & POLICY.ES) !== 0;

/** The state of a handle, UNINIT for one that is no guest's. */
export function guestState(platform: Platform, handle: number): GuestStateName {
  return platform.guests.get(handle)?.state ?? 'UNINIT';
}

/** Whether a command may touch `[spa, spa + length)`: memory, and not the firmware's own. */
export function mayTouch({ memory, tmr }: Platform, spa: number, length: number): boolean {
  if (!memory.contains(spa, length)) return false;
  return tmr === null || spa + length <= tmr.spa || spa >= tmr.spa + tmr.length;
}

/** Bytes as the host sees them; null outside of memory. */
export function readHost(platform: Platform, spa: number, length: number): Uint8Array | null {
  if (!mayTouch(platform, spa, length)) return null;
  const bytes = new Uint8Array(length);
  platform.memory.read(spa, bytes, 0);
  return bytes;
}

export function writeHost(platform: Platform, spa: number, bytes: Uint8Array): Status {
  if (!mayTouch(platform, spa, bytes.length)) return STATUS.INVALID_ADDRESS;
  platform.memory.write(spa, bytes, 0);
  return STATUS.SUCCESS;
}

/** The transport keys of a guest are wiped. */
export function closeChannel(guest: Guest): void {
  const { tek, tik } = guest.channel;
  tek.fill(0);
  tik.fill(0);
  guest.channel = NO_CHANNEL;
}

/** Drops a guest and its VMSAs, wipes its keys; that of its memory unless another has it too. */
export function forget({ guests, memory }: Platform, guest: Guest): void {
  const { handle, key } = guest;
  closeChannel(guest);
  memory.vmsas.forget(handle);
  guests.delete(handle);
  const shared = [...guests.values()].some((other) => other.key === key);
  if (!shared) key.fill(0);
}

/** Drops every guest and all keys: SHUTDOWN, and an INIT that fails. */
export function clear(platform: Platform): void {
  for (const guest of [...platform.guests.values()]) {
    if (guest.asid !== 0) platform.memory.keys.uninstall(guest.asid);
    forget(platform, guest);
  }
  platform.state = 'UNINIT';
  platform.es = false;
  platform.tmr = null;
  platform.keys = null;
  platform.store = platform.flash;
}

/** The lowest handle that is free; null if there are as many guests as may be. */
export function freeHandle({ guests, guestsMax }: Platform): number | null {
  if (guests.size >= guestsMax) return null;
  let handle = 1;
  while (guests.has(handle)) handle++;
  return handle;
}

export const isAligned = (value: number, unit: number): boolean => value % unit === 0;

/** Memory that INIT_EX brings, as a store: all ones where it is erased. */
export function memoryArea(memory: PlatformMemory, spa: number): Store {
  return {
    read: () => {
      const bytes = new Uint8Array(SIZE.NV);
      memory.read(spa, bytes, 0);
      return bytes.every((byte) => byte === 0xff) ? null : bytes;
    },
    write: (bytes) => memory.write(spa, bytes, 0),
    erase: () => memory.write(spa, new Uint8Array(SIZE.NV).fill(0xff), 0),
  };
}
