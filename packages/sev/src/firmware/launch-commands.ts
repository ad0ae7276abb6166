/**
 * Commands that launch a guest: its context, its encrypted and measured contents, its owner's
 * secrets (SEV API 55766, 6.1 "LAUNCH_START" to 6.7 "LAUNCH_FINISH"), and reports about it
 * ("ATTESTATION").
 */
import { type BufferOf, SIZE } from '../abi/commands.js';
import { apiSuffices, POLICY, POLICY_RESERVED } from '../abi/policy.js';
import { STATUS, type Status } from '../abi/status.js';
import { concat, u32 } from '../bytes.js';
import { PAGE_KEY_SIZE } from '../cipher/port.js';
import { hashes } from '../hash/port.js';
import { launchMeasure } from '../measure/launch-measure.js';
import type { TransportKeys } from '../measure/session.js';
import { ALGORITHM, readCertificate, USAGE } from './certificate.js';
import { openSecret, openSession, type Result } from './channel.js';
import { sign } from './ec-key.js';
import { BLOCK, CHUNK, run } from './guest-commands.js';
import {
  closeChannel,
  freeHandle,
  type Guest,
  isAligned,
  isEs,
  mayTouch,
  NO_CHANNEL,
  type Platform,
  readHost,
  writeHost,
} from './platform.js';
import type { LiveGuestState } from './states.js';

export function launchStart(platform: Platform, buffer: BufferOf<'LAUNCH_START'>): Status {
  const withSession = buffer.dh_cert_paddr !== 0;
  const channel = withSession
    ? ownerChannel(platform, {
        certificate: { spa: buffer.dh_cert_paddr, length: buffer.dh_cert_len },
        session: { spa: buffer.session_paddr, length: buffer.session_len },
        policy: buffer.policy,
      })
    : ({ status: STATUS.SUCCESS, value: NO_CHANNEL } as const);
  if (channel.status !== STATUS.SUCCESS) return channel.status;
  return createGuest(platform, buffer, channel.value, 'LUPDATE');
}

export interface Given {
  readonly spa: number;
  readonly length: number;
}

/** The transport keys of a session that the host passed on. */
export function ownerChannel(
  platform: Platform,
  given: { readonly certificate: Given; readonly session: Given; readonly policy: number },
): Result<TransportKeys> {
  if (given.session.length !== SIZE.SESSION) return { status: STATUS.INVALID_LEN };
  if (given.certificate.length !== SIZE.CERTIFICATE) return { status: STATUS.INVALID_LEN };
  const session = readHost(platform, given.session.spa, SIZE.SESSION);
  const peer = readHost(platform, given.certificate.spa, SIZE.CERTIFICATE);
  if (session === null || peer === null) return { status: STATUS.INVALID_ADDRESS };
  return openSession(platform.keys!.pdh.key, readCertificate(peer), session, given.policy);
}

/** A new guest, under a key of its own or, for a handle in the buffer, under that guest's. */
export function createGuest(
  platform: Platform,
  buffer: { handle: number; readonly policy: number },
  channel: TransportKeys,
  state: LiveGuestState,
): Status {
  const { policy, handle: shared } = buffer;
  const { version, guests, entropy } = platform;
  if ((policy & POLICY_RESERVED) !== 0) return STATUS.POLICY_FAILURE;
  if (!apiSuffices(policy, version.major, version.minor)) return STATUS.POLICY_FAILURE;
  const donor = guests.get(shared);
  if (shared !== 0) {
    if (donor === undefined) return STATUS.INVALID_GUEST;
    const forbidden = (policy & POLICY.NOKS) !== 0;
    if (donor.policy !== policy || forbidden) return STATUS.POLICY_FAILURE;
  }
  if ((policy & POLICY.ES) !== 0 && !platform.es) return STATUS.UNSUPPORTED;
  const handle = freeHandle(platform);
  if (handle === null) return STATUS.RESOURCE_LIMIT;
  guests.set(handle, {
    handle,
    policy,
    key: donor?.key ?? entropy(PAGE_KEY_SIZE),
    state,
    asid: 0,
    complexes: 0,
    digest: hashes().createSha256(),
    launchDigest: new Uint8Array(32),
    measurement: new Uint8Array(32),
    channel,
  });
  platform.state = 'WORKING';
  buffer.handle = handle;
  return STATUS.SUCCESS;
}

export function launchUpdateData(
  platform: Platform,
  { paddr: spa, length }: BufferOf<'LAUNCH_UPDATE_DATA'>,
  guest: Guest,
): Status {
  if (guest.asid === 0) return STATUS.INACTIVE;
  if (!isAligned(spa, BLOCK)) return STATUS.INVALID_ADDRESS;
  if (length === 0 || !isAligned(length, BLOCK)) return STATUS.INVALID_LEN;
  if (!mayTouch(platform, spa, length)) return STATUS.INVALID_ADDRESS;
  const bytes = new Uint8Array(Math.min(CHUNK, length));
  for (let at = 0; at < length; at += CHUNK) {
    const chunk = bytes.subarray(0, Math.min(CHUNK, length - at));
    platform.memory.read(spa + at, chunk, 0);
    guest.digest.update(chunk);
    platform.memory.write(spa + at, chunk, guest.asid);
  }
  return STATUS.SUCCESS;
}

export function launchUpdateVmsa(
  platform: Platform,
  buffer: BufferOf<'LAUNCH_UPDATE_VMSA'>,
  guest: Guest,
): Status {
  if (buffer.length !== SIZE.VMSA) return STATUS.INVALID_LEN;
  if (!isEs(guest)) return STATUS.UNSUPPORTED;
  const status = launchUpdateData(platform, buffer, guest);
  if (status !== STATUS.SUCCESS) return status;
  const content = new Uint8Array(SIZE.VMSA);
  platform.memory.read(buffer.paddr, content, guest.asid);
  platform.memory.vmsas.enter(guest.handle, buffer.paddr, content);
  return STATUS.SUCCESS;
}

export function launchMeasureCommand(
  platform: Platform,
  buffer: BufferOf<'LAUNCH_MEASURE'>,
  guest: Guest,
): Status {
  const room = buffer.measure_len;
  buffer.measure_len = SIZE.MEASURE;
  if (room < SIZE.MEASURE) return STATUS.INVALID_LEN;
  if (!mayTouch(platform, buffer.measure_paddr, SIZE.MEASURE)) return STATUS.INVALID_ADDRESS;
  const digest = guest.digest.fork().digest();
  const nonce = platform.entropy(16);
  const { version } = platform;
  const { policy, channel } = guest;
  const measurement = launchMeasure({ version, policy, digest, nonce, tik: channel.tik });
  guest.launchDigest = Uint8Array.from(digest);
  guest.measurement = measurement;
  return writeHost(platform, buffer.measure_paddr, concat(measurement, nonce));
}

export function launchSecret(
  platform: Platform,
  buffer: BufferOf<'LAUNCH_SECRET'>,
  guest: Guest,
): Status {
  const { guest_paddr: spa, guest_len: length, trans_len: transLength } = buffer;
  if (!isAligned(spa, BLOCK)) return STATUS.INVALID_ADDRESS;
  const lengths =
    buffer.hdr_len === SIZE.PACKET_HEADER && isPacketLength(length) && length === transLength;
  if (!lengths) return STATUS.INVALID_LEN;
  if (guest.asid === 0) return STATUS.INACTIVE;
  const header = readHost(platform, buffer.hdr_paddr, SIZE.PACKET_HEADER);
  const ciphertext = readHost(platform, buffer.trans_paddr, transLength);
  if (header === null || ciphertext === null) return STATUS.INVALID_ADDRESS;
  if (!mayTouch(platform, spa, length)) return STATUS.INVALID_ADDRESS;
  const secret = openSecret(guest.channel, { header, ciphertext }, guest.measurement);
  if (secret.status !== STATUS.SUCCESS) return secret.status;
  platform.memory.write(spa, secret.value, guest.asid);
  return STATUS.SUCCESS;
}

/** Whether a packet may hold so many bytes: whole blocks, and no more than fits. */
export function isPacketLength(length: number): boolean {
  return length > 0 && length <= SIZE.PACKET && isAligned(length, BLOCK);
}

export function launchFinish(platform: Platform, _: unknown, guest: Guest): Status {
  const status = run(platform, guest);
  if (status === STATUS.SUCCESS) closeChannel(guest);
  return status;
}

export function attestation(
  platform: Platform,
  buffer: BufferOf<'ATTESTATION'>,
  guest: Guest,
): Status {
  const room = buffer.length;
  buffer.length = SIZE.ATTESTATION_REPORT;
  if (room < SIZE.ATTESTATION_REPORT) return STATUS.INVALID_LEN;
  const signed = concat(buffer.mnonce, guest.launchDigest, u32(guest.policy));
  const report = concat(
    signed,
    u32(USAGE.PEK),
    u32(ALGORITHM.ECDSA_SHA256),
    u32(0),
    sign(platform.keys!.pek.key, signed),
  );
  return writeHost(platform, buffer.paddr, report);
}
