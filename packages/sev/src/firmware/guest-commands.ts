/**
 * Commands about guests that are there: ASIDs, status, debugging, moves (SEV API 55766, 6.2
 * "ACTIVATE" to 6.5, 6.20 "COPY", 6.21 "ACTIVATE_EX", chapter 7 "Debugging API").
 */
import { BUFFERS, type BufferOf, GUEST_STATE } from '../abi/commands.js';
import { POLICY } from '../abi/policy.js';
import { STATUS, type Status } from '../abi/status.js';
import { viewOf } from '../bytes.js';
import {
  forget,
  type Guest,
  isAligned,
  isEs,
  mayTouch,
  type Platform,
  readHost,
} from './platform.js';

/** Bytes that are copied at a time. */
export const CHUNK = 65536;
export const BLOCK = 16;
const PAGE = 4096;
/** The most APIC identifiers that ACTIVATE_EX takes. */
const APIC_IDS_MAX = 512;

export function decommission(platform: Platform, _: unknown, guest: Guest): Status {
  if (guest.asid !== 0) return STATUS.ACTIVE;
  forget(platform, guest);
  if (platform.guests.size === 0) platform.state = 'INIT';
  return STATUS.SUCCESS;
}

export function activate(platform: Platform, { asid }: BufferOf<'ACTIVATE'>, guest: Guest): Status {
  const { asids } = platform;
  if (!asids.inRange(asid, isEs(guest))) return STATUS.INVALID_ASID;
  if (asids.isTaken(asid)) return STATUS.ASID_OWNED;
  if (guest.asid !== 0) return STATUS.ACTIVE;
  return bind(platform, guest, asid, asids.all);
}

export function activateEx(
  platform: Platform,
  buffer: BufferOf<'ACTIVATE_EX'>,
  guest: Guest,
): Status {
  const { asids } = platform;
  const { asid, numids, ids_paddr: spa } = buffer;
  if (buffer.ex_len !== BUFFERS.ACTIVATE_EX.size) return STATUS.INVALID_PARAM;
  if (!asids.inRange(asid, isEs(guest))) return STATUS.INVALID_ASID;
  if (numids === 0 || numids > APIC_IDS_MAX) return STATUS.INVALID_PARAM;
  const list = readHost(platform, spa, numids * 4);
  if (list === null) return STATUS.INVALID_ADDRESS;
  const ids = Array.from({ length: numids }, (_, n) => viewOf(list).getUint32(n * 4, true));
  const complexes = asids.complexesOf(ids);
  if (complexes === null) return STATUS.INVALID_PARAM;
  if (guest.asid === 0 && asids.isTaken(asid)) return STATUS.ASID_OWNED;
  if (guest.asid !== 0 && guest.asid !== asid) return STATUS.ACTIVE;
  return bind(platform, guest, asid, complexes);
}

/** Installs the guest's key if that is still to do, and lets it run on these complexes. */
function bind(platform: Platform, guest: Guest, asid: number, complexes: number): Status {
  const { asids, memory } = platform;
  if (guest.asid === 0) {
    const status = asids.mayGive(asid);
    if (status !== STATUS.SUCCESS) return status;
    memory.keys.install(asid, guest.key);
    guest.asid = asid;
  } else if (asids.isDirty(asid, complexes)) {
    return STATUS.DFFLUSH_REQUIRED;
  }
  guest.complexes |= complexes;
  asids.give(asid, complexes, guest.state === 'RUNNING' || guest.state === 'SUPDATE');
  return STATUS.SUCCESS;
}

/** A guest that waited for it may run where it was activated: LAUNCH_FINISH, RECEIVE_FINISH. */
export function run({ asids, hardware }: Platform, guest: Guest): Status {
  if (guest.asid === 0) return STATUS.SUCCESS;
  if (!hardware.coresAnswer()) return STATUS.HWERROR_UNSAFE;
  asids.give(guest.asid, guest.complexes, true);
  return STATUS.SUCCESS;
}

export function deactivate({ asids, memory }: Platform, _: unknown, guest: Guest): Status {
  if (guest.asid === 0) return STATUS.INACTIVE;
  asids.take(guest.asid);
  memory.keys.uninstall(guest.asid);
  guest.asid = 0;
  guest.complexes = 0;
  return STATUS.SUCCESS;
}

export function guestStatus({ guests }: Platform, buffer: BufferOf<'GUEST_STATUS'>): Status {
  const guest = guests.get(buffer.handle);
  buffer.state = GUEST_STATE[guest?.state ?? 'UNINIT'];
  if (guest !== undefined) {
    buffer.policy = guest.policy;
    buffer.asid = guest.asid;
  }
  return STATUS.SUCCESS;
}

/** Moves whole pages of a guest to other addresses, where they need other ciphertext. */
export function copy(platform: Platform, buffer: BufferOf<'COPY'>, guest: Guest): Status {
  const { length, src_paddr: from, dst_paddr: to } = buffer;
  if (guest.asid === 0) return STATUS.INACTIVE;
  if (length === 0 || !isAligned(length, PAGE)) return STATUS.INVALID_LEN;
  if (!isAligned(from, PAGE) || !isAligned(to, PAGE)) return STATUS.INVALID_ADDRESS;
  if (!mayTouch(platform, from, length) || !mayTouch(platform, to, length)) {
    return STATUS.INVALID_ADDRESS;
  }
  if (from === to) return STATUS.SUCCESS;
  transfer(platform, { from, to, length, read: guest.asid, write: guest.asid });
  return STATUS.SUCCESS;
}

export function dbgDecrypt(
  platform: Platform,
  buffer: BufferOf<'DBG_DECRYPT'>,
  guest: Guest,
): Status {
  return debug(platform, buffer, guest, { read: guest.asid, write: 0 });
}

export function dbgEncrypt(
  platform: Platform,
  buffer: BufferOf<'DBG_ENCRYPT'>,
  guest: Guest,
): Status {
  return debug(platform, buffer, guest, { read: 0, write: guest.asid });
}

function debug(
  platform: Platform,
  { src_paddr: from, dst_paddr: to, length }: BufferOf<'DBG_DECRYPT'>,
  guest: Guest,
  tags: { readonly read: number; readonly write: number },
): Status {
  if (!isAligned(from, BLOCK) || !isAligned(to, BLOCK)) return STATUS.INVALID_ADDRESS;
  if (!isAligned(length, BLOCK)) return STATUS.INVALID_LEN;
  if ((guest.policy & POLICY.NODBG) !== 0) return STATUS.POLICY_FAILURE;
  if (guest.asid === 0) return STATUS.INACTIVE;
  if (!mayTouch(platform, from, length) || !mayTouch(platform, to, length)) {
    return STATUS.INVALID_ADDRESS;
  }
  transfer(platform, { from, to, length, ...tags });
  return STATUS.SUCCESS;
}

interface Transfer {
  readonly from: number;
  readonly to: number;
  readonly length: number;
  readonly read: number;
  readonly write: number;
}

/** In chunks; from the end where the ranges overlap that way. */
function transfer({ memory }: Platform, { from, to, length, read, write }: Transfer): void {
  const bytes = new Uint8Array(Math.min(CHUNK, length));
  const chunks = Math.ceil(length / CHUNK);
  for (let n = 0; n < chunks; n++) {
    const at = (from < to ? chunks - 1 - n : n) * CHUNK;
    const chunk = bytes.subarray(0, Math.min(CHUNK, length - at));
    memory.read(from + at, chunk, read);
    memory.write(to + at, chunk, write);
  }
}
