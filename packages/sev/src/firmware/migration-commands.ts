/**
 * Commands that move a guest to another platform: SEND on the one, RECEIVE on the other (SEV API
 * 55766, 6.8 "SEND_START" to 6.16 "RECEIVE_FINISH").
 */
import { type BufferOf, SIZE } from '../abi/commands.js';
import { apiSuffices, POLICY } from '../abi/policy.js';
import { STATUS, type Status } from '../abi/status.js';
import type { LegacyCertificate } from '../attest/legacy-certificate.js';
import { equalBytes, viewOf } from '../bytes.js';
import { checkCertificate, readCertificate } from './certificate.js';
import { createSession, open, seal } from './channel.js';
import { BLOCK, run } from './guest-commands.js';
import { createGuest, isPacketLength, ownerChannel } from './launch-commands.js';
import {
  closeChannel,
  type Guest,
  isAligned,
  isEs,
  mayTouch,
  type Platform,
  readHost,
  writeHost,
} from './platform.js';
import { isRoot } from './root.js';

export function sendStart(
  platform: Platform,
  buffer: BufferOf<'SEND_START'>,
  guest: Guest,
): Status {
  const { policy } = guest;
  const room = buffer.session_len;
  buffer.session_len = SIZE.SESSION;
  if (room !== SIZE.SESSION) return STATUS.INVALID_LEN;
  if ((policy & POLICY.NOSEND) !== 0) return STATUS.POLICY_FAILURE;
  if (buffer.pdh_cert_len !== SIZE.CERTIFICATE) return STATUS.INVALID_LEN;
  const peer = readHost(platform, buffer.pdh_cert_paddr, SIZE.CERTIFICATE);
  if (peer === null || !mayTouch(platform, buffer.session_paddr, SIZE.SESSION)) {
    return STATUS.INVALID_ADDRESS;
  }
  const pdh = readCertificate(peer);
  const status = checkReceiver(platform, buffer, guest, pdh);
  if (status !== STATUS.SUCCESS) return status;
  const made = createSession(platform.keys!.pdh.key, pdh, policy, platform.entropy);
  if (made.status !== STATUS.SUCCESS) return made.status;
  guest.channel = made.value.keys;
  buffer.policy = policy;
  return writeHost(platform, buffer.session_paddr, made.value.session);
}

/** What the policy asks of the platform that is to have the guest. */
function checkReceiver(
  platform: Platform,
  buffer: BufferOf<'SEND_START'>,
  { policy }: Guest,
  pdh: LegacyCertificate | null,
): Status {
  if ((policy & (POLICY.SEV | POLICY.DOMAIN)) === 0) return STATUS.SUCCESS;
  if (buffer.plat_certs_len !== SIZE.CERTIFICATE_CHAIN) return STATUS.INVALID_LEN;
  const chain = readHost(platform, buffer.plat_certs_paddr, SIZE.CERTIFICATE_CHAIN);
  if (chain === null) return STATUS.INVALID_ADDRESS;
  const [pek, oca, cek] = [0, 1, 2].map((n) =>
    readCertificate(chain.subarray(n * SIZE.CERTIFICATE, (n + 1) * SIZE.CERTIFICATE)),
  ) as [LegacyCertificate | null, LegacyCertificate | null, LegacyCertificate | null];
  const ofSev = (policy & POLICY.SEV) === 0 ? STATUS.SUCCESS : checkSev(platform, buffer, cek);
  if (ofSev !== STATUS.SUCCESS) return ofSev;
  if ((policy & POLICY.SEV) !== 0) {
    const status = checkCertificate(pek, cek) || checkCertificate(pdh, pek);
    if (status !== STATUS.SUCCESS) return status;
    const [major, minor] = pek!.bytes.subarray(4, 6);
    if (!apiSuffices(policy, major!, minor!)) return STATUS.POLICY_FAILURE;
  }
  if ((policy & POLICY.DOMAIN) === 0) return STATUS.SUCCESS;
  const status =
    checkCertificate(oca, oca) || checkCertificate(pek, oca) || checkCertificate(pdh, pek);
  if (status !== STATUS.SUCCESS) return status;
  const own = platform.keys!.oca.certificate;
  return equalBytes(oca!.bytes, own) ? STATUS.SUCCESS : STATUS.POLICY_FAILURE;
}

const CA_HEAD = 0x40;

/** Whether the chip is of the same maker as this one: CEK by ASK by ARK. */
function checkSev(
  platform: Platform,
  buffer: BufferOf<'SEND_START'>,
  cek: LegacyCertificate | null,
): Status {
  if (!isAuthorityChainLength(buffer.amd_certs_len)) return STATUS.INVALID_LEN;
  const bytes = readHost(platform, buffer.amd_certs_paddr, buffer.amd_certs_len);
  if (bytes === null) return STATUS.INVALID_ADDRESS;
  const askSize = CA_HEAD + (3 * viewOf(bytes).getUint32(0x3c, true)) / 8;
  const ask = readCertificate(bytes.subarray(0, askSize));
  const ark = readCertificate(bytes.subarray(askSize));
  const status = checkCertificate(ark, ark);
  if (status !== STATUS.SUCCESS) return status;
  if (!isRoot(platform.chip.root(), ark!.bytes)) return STATUS.INVALID_CERTIFICATE;
  return checkCertificate(ask, ark) || checkCertificate(cek, ask);
}

/** ASK and ARK have keys of 2048 or of 4096 bits each. */
function isAuthorityChainLength(length: number): boolean {
  const sizes = [256, 512].map((size) => CA_HEAD + 3 * size);
  return sizes.some((ask) => sizes.some((ark) => ask + ark === length));
}

export function sendUpdateData(
  platform: Platform,
  buffer: BufferOf<'SEND_UPDATE_DATA'>,
  guest: Guest,
): Status {
  return sendUpdate(platform, buffer, guest, () => true);
}

/** Sends what `maySend` has seen, and nothing that it refuses. */
function sendUpdate(
  platform: Platform,
  buffer: BufferOf<'SEND_UPDATE_DATA'>,
  guest: Guest,
  maySend: (plaintext: Uint8Array) => boolean,
): Status {
  const { guest_paddr: spa, guest_len: length } = buffer;
  const { hdr_len: headRoom, trans_len: room } = buffer;
  buffer.hdr_len = SIZE.PACKET_HEADER;
  buffer.trans_len = length;
  if (headRoom < SIZE.PACKET_HEADER) return STATUS.INVALID_LEN;
  if (guest.asid === 0) return STATUS.INACTIVE;
  if (!isPacketLength(length) || room < length) return STATUS.INVALID_LEN;
  if (!isAligned(spa, BLOCK) || !mayTouch(platform, spa, length)) return STATUS.INVALID_ADDRESS;
  if (!mayTouch(platform, buffer.hdr_paddr, SIZE.PACKET_HEADER)) return STATUS.INVALID_ADDRESS;
  if (!mayTouch(platform, buffer.trans_paddr, length)) return STATUS.INVALID_ADDRESS;
  const plaintext = new Uint8Array(length);
  platform.memory.read(spa, plaintext, guest.asid);
  if (!maySend(plaintext)) return STATUS.INVALID_PARAM;
  const { header, ciphertext } = seal(guest.channel, plaintext, platform.entropy);
  return (
    writeHost(platform, buffer.trans_paddr, ciphertext) ||
    writeHost(platform, buffer.hdr_paddr, header)
  );
}

/**
 * Only a VMSA that is as the processor left it goes out. That holds no host back, as it doesn't
 * with AMD's firmware: packets of data and of VMSAs are alike, and are received as either.
 */
export function sendUpdateVmsa(
  platform: Platform,
  buffer: BufferOf<'SEND_UPDATE_VMSA'>,
  guest: Guest,
): Status {
  if (!isEs(guest)) return STATUS.UNSUPPORTED;
  const { vmsas } = platform.memory;
  return sendUpdate(platform, buffer, guest, (plaintext) => {
    const whole = plaintext.length >= SIZE.VMSA;
    return whole && vmsas.vouches(guest.handle, buffer.guest_paddr, plaintext);
  });
}

/** SEND_FINISH and SEND_CANCEL: the keys of the transport are forgotten. */
export function sendEnd(_: Platform, __: unknown, guest: Guest): Status {
  closeChannel(guest);
  return STATUS.SUCCESS;
}

export function receiveStart(platform: Platform, buffer: BufferOf<'RECEIVE_START'>): Status {
  const channel = ownerChannel(platform, {
    certificate: { spa: buffer.pdh_cert_paddr, length: buffer.pdh_cert_len },
    session: { spa: buffer.session_paddr, length: buffer.session_len },
    policy: buffer.policy,
  });
  if (channel.status !== STATUS.SUCCESS) return channel.status;
  return createGuest(platform, buffer, channel.value, 'RUPDATE');
}

export function receiveUpdateData(
  platform: Platform,
  buffer: BufferOf<'RECEIVE_UPDATE_DATA'>,
  guest: Guest,
): Status {
  return receiveUpdate(platform, buffer, guest);
}

/** Stores what came, `least` bytes, and then tells `stored` of it. */
function receiveUpdate(
  platform: Platform,
  buffer: BufferOf<'RECEIVE_UPDATE_DATA'>,
  guest: Guest,
  least = 0,
  stored: (plaintext: Uint8Array) => void = () => {},
): Status {
  const { guest_paddr: spa, guest_len: length, trans_len: transLength } = buffer;
  if (guest.asid === 0) return STATUS.INACTIVE;
  const lengths =
    isPacketLength(length) && length === transLength && buffer.hdr_len >= SIZE.PACKET_HEADER;
  if (!lengths) return STATUS.INVALID_LEN;
  if (!isAligned(spa, BLOCK) || !mayTouch(platform, spa, length)) return STATUS.INVALID_ADDRESS;
  const header = readHost(platform, buffer.hdr_paddr, SIZE.PACKET_HEADER);
  const ciphertext = readHost(platform, buffer.trans_paddr, transLength);
  if (header === null || ciphertext === null) return STATUS.INVALID_ADDRESS;
  const plaintext = open(guest.channel, { header, ciphertext });
  if (plaintext.status !== STATUS.SUCCESS) return plaintext.status;
  if (plaintext.value.length < least) return STATUS.INVALID_LEN;
  platform.memory.write(spa, plaintext.value, guest.asid);
  stored(plaintext.value);
  return STATUS.SUCCESS;
}

/**
 * The VMSA gets a record of its own here, as at a launch: once it is stored, since a processor that
 * owes another VMSA to its page would store that first, and renew the record by it.
 */
export function receiveUpdateVmsa(
  platform: Platform,
  buffer: BufferOf<'RECEIVE_UPDATE_VMSA'>,
  guest: Guest,
): Status {
  if (!isEs(guest)) return STATUS.UNSUPPORTED;
  return receiveUpdate(platform, buffer, guest, SIZE.VMSA, (plaintext) => {
    platform.memory.vmsas.enter(guest.handle, buffer.guest_paddr, plaintext);
  });
}

export function receiveFinish(platform: Platform, _: unknown, guest: Guest): Status {
  const status = run(platform, guest);
  if (status === STATUS.SUCCESS) closeChannel(guest);
  return status;
}
