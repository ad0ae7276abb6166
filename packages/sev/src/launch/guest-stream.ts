/**
 * A running guest on its way from one platform to another, or to the same one later: SEND_START,
 * SEND_UPDATE_DATA for every private page, SEND_UPDATE_VMSA for every vCPU of a SEV-ES guest, and
 * what of it the other side's RECEIVE commands take. Shared pages are the host's to copy; a host
 * that takes a page for shared that is none, or sends a page to another address, gives the guest
 * garbage there.
 *
 * Source: SEV API 55766, 6.8 "SEND_START" to 6.16 "RECEIVE_FINISH". QEMU has no upstream
 * migration of SEV guests to be compatible with: the record is ours.
 */
import { type BackendVm, isVmmError, type Snapshot, VmmError } from '@cloister/core';
import { SIZE } from '../abi/commands.js';
import { concat } from '../bytes.js';
import { authorityChain, certifiedCek } from '../firmware/root.js';
import type { PspDriver, SevPacket } from '../psp/driver.js';
import type { EmulatedPlatform } from './emulated-platform.js';

const PAGE_SIZE = 4096;
const TYPE = 'sev-guest';
const VERSION = 2;

/** The platform that is to have a guest, as SEND_START wants to know it. */
export interface Receiver {
  readonly pdh: Uint8Array;
  /** PEK, OCA and CEK, the latter signed by the ASK. */
  readonly platform: Uint8Array;
  /** ASK, then ARK. */
  readonly authorities: Uint8Array;
}

/** An emulated platform as receiver; it must have had its INIT. */
export function receiverOf({ chip, driver }: EmulatedPlatform): Receiver {
  const { pdh, pek, oca } = driver.pdhCertExport();
  const cek = certifiedCek(chip, driver.platformStatus().version);
  return { pdh, platform: concat(pek, oca, cek), authorities: authorityChain(chip.root()) };
}

interface StreamPacket extends SevPacket {
  readonly gpa: number;
}

/** What the host keeps of a guest that it sends. */
export interface GuestStream {
  readonly policy: number;
  /** The sender's PDH certificate. */
  readonly pdh: Uint8Array;
  readonly session: Uint8Array;
  readonly packets: readonly StreamPacket[];
  /** VMSAs, by vCPU; none without SEV-ES. */
  readonly vmsas: readonly SevPacket[];
}

export interface SendOptions {
  readonly to: Receiver;
  readonly isPrivate: (gpa: number) => boolean;
  /** System-physical addresses of its VMSAs, by vCPU. */
  readonly vmsas: readonly number[];
}

/**
 * Sends the guest of `handle`, up to SEND_FINISH or SEND_CANCEL (`settleGuest`). If a command fails
 * it goes on where it is.
 */
export function sendGuest(
  { driver, controller }: EmulatedPlatform,
  handle: number,
  vm: BackendVm,
  { to, isPrivate, vmsas }: SendOptions,
): GuestStream {
  const { policy, session } = driver.sendStart(handle, to);
  try {
    const { pdh } = driver.pdhCertExport();
    const packets = packetRuns(vm, isPrivate, controller.memory.locate).map(
      ({ gpa, spa, length }) => ({ gpa, ...driver.sendUpdateData(handle, spa, length) }),
    );
    const states = vmsas.map((spa) => driver.sendUpdateVmsa(handle, spa));
    return { policy, pdh, session, packets, vmsas: states };
  } catch (error) {
    return takeBack(driver, handle, error);
  }
}

/** SEND_FINISH: the guest never runs here again. Otherwise SEND_CANCEL: it goes on. */
export function settleGuest(driver: PspDriver, handle: number, leaves: boolean): void {
  if (!leaves) {
    driver.sendCancel(handle);
    return;
  }
  try {
    driver.sendFinish(handle);
  } catch (error) {
    takeBack(driver, handle, error);
  }
}

/** SEND_CANCEL after `error`, which is what there is to tell; another one is told beside it. */
function takeBack(driver: PspDriver, handle: number, error: unknown): never {
  try {
    driver.sendCancel(handle);
  } catch (second) {
    const code = isVmmError(error) ? error.code : 'io-failed';
    throw new VmmError(code, `${textOf(error)}; then ${textOf(second)}`, {
      cause: error,
      remedy: 'the guest is still here and can run, but cannot be sent again',
    });
  }
  throw error;
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

interface PacketRun {
  readonly gpa: number;
  readonly spa: number;
  length: number;
}

/** The private pages, as many in one packet as it holds where they lie side by side. */
function packetRuns(
  { memory }: BackendVm,
  isPrivate: (gpa: number) => boolean,
  locate: (gpa: number) => number,
  most: number = SIZE.PACKET,
): PacketRun[] {
  const runs: PacketRun[] = [];
  for (const slot of memory.slots) {
    if (!slot.encryptable) continue;
    for (let gpa = slot.gpa; gpa < slot.gpa + slot.size; gpa += PAGE_SIZE) {
      if (!isPrivate(gpa)) continue;
      const spa = locate(gpa);
      const last = runs.at(-1);
      const follows =
        last !== undefined &&
        last.length < most &&
        gpa === last.gpa + last.length &&
        spa === last.spa + last.length;
      if (follows) last.length += PAGE_SIZE;
      else runs.push({ gpa, spa, length: PAGE_SIZE });
    }
  }
  return runs;
}

/**
 * RECEIVE_UPDATE_DATA for every packet, RECEIVE_UPDATE_VMSA for every vCPU, then RECEIVE_FINISH, of
 * a guest after RECEIVE_START that has its ASID. What the firmware cannot see is checked here: each
 * private page, and each vCPU's state, came once.
 */
export function receivePackets(
  { driver, controller }: EmulatedPlatform,
  handle: number,
  vm: BackendVm,
  { packets, vmsas }: GuestStream,
  { isPrivate, vmsas: places }: Pick<SendOptions, 'isPrivate' | 'vmsas'>,
): void {
  if (vmsas.length !== places.length) damaged(`it has the state of ${vmsas.length} CPUs`);
  const { locate } = controller.memory;
  const due = new Map(
    packetRuns(vm, isPrivate, locate, PAGE_SIZE).map(({ gpa, spa }) => [gpa, spa]),
  );
  for (const { gpa, header, ciphertext } of packets) {
    const first = due.get(gpa) ?? -1;
    for (let at = 0; at < ciphertext.length; at += PAGE_SIZE) {
      // A packet has one MAC: it cannot be received in parts.
      if (first < 0 || due.get(gpa + at) !== first + at) {
        damaged(`a packet does not fit at 0x${gpa.toString(16)}`);
      }
      due.delete(gpa + at);
    }
    driver.receiveUpdateData(handle, { header, ciphertext }, first);
  }
  const [missing] = due.keys();
  if (missing !== undefined) damaged(`it ends without the page at 0x${missing.toString(16)}`);
  vmsas.forEach((packet, index) => void driver.receiveUpdateVmsa(handle, packet, places[index]!));
  driver.receiveFinish(handle);
}

/** The record of a stream. `more` is kept with it. */
export function encodeStream(stream: GuestStream, more: Snapshot['state']): Snapshot {
  const { policy, pdh, session, vmsas } = stream;
  const packets = stream.packets.map(({ gpa, header, ciphertext }) => ({
    gpa,
    header,
    ciphertext,
  }));
  const states = vmsas.map(({ header, ciphertext }) => ({ header, ciphertext }));
  const state = { policy, pdh, session, packets, vmsas: states, more };
  return { type: TYPE, version: VERSION, state };
}

/** Reads what `encodeStream` made; `VmmError('snapshot-mismatch')` for anything else. */
export function decodeStream({ type, version, state }: Snapshot): {
  readonly stream: GuestStream;
  readonly more: unknown;
} {
  if (type !== TYPE) damaged(`this is a ${type}`);
  if (version !== VERSION) damaged(`version ${version} is not known`);
  const { policy, pdh, session, packets, vmsas, more } = fields(state);
  const sized = (bytes: unknown, size: number): Uint8Array =>
    bytes instanceof Uint8Array && bytes.length === size ? bytes : damaged('a part has no size');
  if (!isWhole(policy, 0xffff_ffff)) return damaged('it has no policy');
  if (!Array.isArray(packets)) return damaged('it has no packets');
  if (!Array.isArray(vmsas)) return damaged('it has no list of CPUs');
  return {
    stream: {
      policy,
      pdh: sized(pdh, SIZE.CERTIFICATE),
      session: sized(session, SIZE.SESSION),
      packets: packets.map(packetOf),
      vmsas: vmsas.map(vmsaOf),
    },
    more,
  };
}

function packetOf(value: unknown): StreamPacket {
  const { gpa, header, ciphertext } = fields(value);
  const good =
    isWhole(gpa, 2 ** 52) &&
    gpa % PAGE_SIZE === 0 &&
    header instanceof Uint8Array &&
    header.length === SIZE.PACKET_HEADER &&
    ciphertext instanceof Uint8Array &&
    ciphertext.length > 0 &&
    ciphertext.length <= SIZE.PACKET &&
    ciphertext.length % PAGE_SIZE === 0;
  return good ? { gpa, header, ciphertext } : damaged('a packet is none');
}

function vmsaOf(value: unknown): SevPacket {
  const { header, ciphertext } = packetOf({ ...fields(value), gpa: 0 });
  return ciphertext.length === SIZE.VMSA ? { header, ciphertext } : damaged('a packet is none');
}

const fields = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null
    ? (value as Record<string, unknown>)
    : damaged('a part is missing');

const isWhole = (value: unknown, most: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most;

function damaged(why: string): never {
  throw new VmmError('snapshot-mismatch', `this is no SEV guest that was sent: ${why}`, {
    remedy: 'save the guest again',
  });
}
