/**
 * Commands about the platform itself: initialization, status, keys and certificates, flushes
 * (SEV API 55766, chapter 5). Checks that every command of its kind has are `dispatch`'s.
 */
import { type BufferOf, PLATFORM_STATE, SIZE } from '../abi/commands.js';
import { STATUS, type Status } from '../abi/status.js';
import { concat, equalBytes } from '../bytes.js';
import {
  BODY_SIZE,
  certificate,
  checkCertificate,
  copySignature,
  readCertificate,
  USAGE,
} from './certificate.js';
import { readFirmwareImage } from './firmware-image.js';
import {
  generateAll,
  generatePdh,
  IV_SIZE,
  openState,
  type Store,
  sealState,
} from './persistent.js';
import {
  clear,
  isAligned,
  mayTouch,
  memoryArea,
  type Platform,
  readHost,
  writeHost,
} from './platform.js';
import { chipId, endorsementKey } from './root.js';

/** Bit 0 of INIT's flags: SEV-ES for the platform. */
const INIT_ES = 1;

export function init(platform: Platform, buffer: BufferOf<'INIT'>): Status {
  if (buffer.reserved !== 0) return STATUS.INVALID_CONFIG;
  return start(platform, buffer, platform.flash);
}

export function initEx(platform: Platform, buffer: BufferOf<'INIT_EX'>): Status {
  if (buffer.reserved !== 0) return STATUS.INVALID_CONFIG;
  if (buffer.ex_len !== SIZE.INIT_EX) return STATUS.INVALID_LEN;
  const { nv_paddr: nv, nv_length: length, tmr_paddr: tmr } = buffer;
  if (nv === 0) return start(platform, buffer, platform.flash);
  if (!isAligned(nv, 4096) || !platform.memory.contains(nv, length)) return STATUS.INVALID_ADDRESS;
  if (length !== SIZE.NV) return STATUS.INVALID_LEN;
  const overlaps = nv < tmr + SIZE.TMR && tmr < nv + SIZE.NV;
  if ((buffer.flags & INIT_ES) !== 0 && overlaps) return STATUS.INVALID_ADDRESS;
  return start(platform, buffer, memoryArea(platform.memory, nv));
}

function start(
  platform: Platform,
  { flags, tmr_paddr: spa, tmr_length: length }: BufferOf<'INIT'>,
  store: Store,
): Status {
  if (!platform.hardware.encryptionEnabled()) return STATUS.HWERROR_PLATFORM;
  if ((flags & ~INIT_ES) !== 0) return STATUS.INVALID_CONFIG;
  const es = (flags & INIT_ES) !== 0;
  if (es) {
    if (!isAligned(spa, SIZE.TMR)) return STATUS.INVALID_ADDRESS;
    if (length !== SIZE.TMR) return STATUS.INVALID_LEN;
    if (!platform.memory.contains(spa, length)) return STATUS.INVALID_ADDRESS;
  }
  const status = loadKeys(platform, store);
  if (status !== STATUS.SUCCESS) {
    clear(platform);
    return status;
  }
  platform.es = es;
  platform.tmr = es ? { spa, length } : null;
  platform.asids.reset();
  platform.state = 'INIT';
  return STATUS.SUCCESS;
}

function loadKeys(platform: Platform, store: Store): Status {
  platform.store = store;
  const stored = store.read();
  if (stored === null) {
    platform.keys = generateAll(platform.chip, platform.version, platform.entropy);
    save(platform);
    return STATUS.SUCCESS;
  }
  platform.keys = openState(stored, platform.chip);
  if (platform.keys !== null) return STATUS.SUCCESS;
  store.erase();
  return STATUS.SECURE_DATA_INVALID;
}

function save({ store, keys, chip, entropy }: Platform): void {
  // What is random is drawn now: what a seed gives does not depend on who reads when.
  const iv = entropy(IV_SIZE);
  const seal = () => sealState(keys!, chip, iv);
  if (store.writeLater === undefined) store.write(seal());
  else store.writeLater(seal);
}

export function shutdown(platform: Platform): Status {
  const answered = platform.guests.size === 0 || platform.hardware.coresAnswer();
  clear(platform);
  return answered ? STATUS.SUCCESS : STATUS.HWERROR_UNSAFE;
}

export function platformReset({ flash }: Platform): Status {
  flash.erase();
  return STATUS.SUCCESS;
}

export function platformStatus(platform: Platform, buffer: BufferOf<'PLATFORM_STATUS'>): Status {
  const { version, keys, es, guests, state } = platform;
  Object.assign(buffer, {
    api_major: version.major,
    api_minor: version.minor,
    state: PLATFORM_STATE[state],
    owner: keys !== null && keys.oca.key === null ? 1 : 0,
    config: es ? INIT_ES : 0,
    build: version.build,
    guest_count: guests.size,
  });
  return STATUS.SUCCESS;
}

export function pekGen(platform: Platform): Status {
  platform.keys = generateAll(platform.chip, platform.version, platform.entropy);
  save(platform);
  return STATUS.SUCCESS;
}

export function pdhGen(platform: Platform): Status {
  const { keys, version, entropy } = platform;
  platform.keys = { ...keys!, pdh: generatePdh(keys!.pek, version, entropy) };
  save(platform);
  return STATUS.SUCCESS;
}

export function pekCsr(platform: Platform, buffer: BufferOf<'PEK_CSR'>): Status {
  const given = buffer.length;
  buffer.length = SIZE.CERTIFICATE;
  if (given < SIZE.CERTIFICATE) return STATUS.INVALID_LEN;
  // The PEK's certificate without its signatures: the owner puts another one there.
  const csr = certificate('PEK', platform.keys!.pek.key.point, platform.version);
  csr.set(platform.keys!.pek.certificate.subarray(0, BODY_SIZE));
  return writeHost(platform, buffer.paddr, csr);
}

export function pekCertImport(platform: Platform, buffer: BufferOf<'PEK_CERT_IMPORT'>): Status {
  const keys = platform.keys!;
  if (keys.oca.key === null) return STATUS.ALREADY_OWNED;
  if (buffer.pek_cert_len !== SIZE.CERTIFICATE) return STATUS.INVALID_LEN;
  if (buffer.oca_cert_len !== SIZE.CERTIFICATE) return STATUS.INVALID_LEN;
  const pek = readHost(platform, buffer.pek_cert_paddr, SIZE.CERTIFICATE);
  const oca = readHost(platform, buffer.oca_cert_paddr, SIZE.CERTIFICATE);
  if (pek === null || oca === null) return STATUS.INVALID_ADDRESS;
  const owner = readCertificate(oca);
  const status = checkCertificate(owner, owner) || checkCertificate(readCertificate(pek), owner);
  if (status !== STATUS.SUCCESS) return status;
  // What was signed must be what PEK_CSR gave out.
  const own = keys.pek.certificate;
  if (!equalBytes(pek.subarray(0, BODY_SIZE), own.subarray(0, BODY_SIZE))) {
    return STATUS.INVALID_CERTIFICATE;
  }
  if (!copySignature(own, pek, USAGE.CEK)) return STATUS.INVALID_CERTIFICATE;
  const certified = { key: keys.pek.key, certificate: pek };
  platform.keys = {
    oca: { key: null, certificate: oca },
    pek: certified,
    pdh: generatePdh(certified, platform.version, platform.entropy),
  };
  save(platform);
  return STATUS.SUCCESS;
}

export function pdhCertExport(platform: Platform, buffer: BufferOf<'PDH_CERT_EXPORT'>): Status {
  const { pdh_cert_len: room, certs_len: chainRoom } = buffer;
  buffer.pdh_cert_len = SIZE.CERTIFICATE;
  buffer.certs_len = SIZE.CERTIFICATE_CHAIN;
  if (room < SIZE.CERTIFICATE || chainRoom < SIZE.CERTIFICATE_CHAIN) return STATUS.INVALID_LEN;
  const { pdh, pek, oca } = platform.keys!;
  // The chip's own certificate goes out unsigned: its maker has the signed one.
  const cek = certificate('CEK', endorsementKey(platform.chip).point, platform.version);
  const chain = concat(pek.certificate, oca.certificate, cek);
  if (!mayTouch(platform, buffer.certs_paddr, chain.length)) return STATUS.INVALID_ADDRESS;
  return (
    writeHost(platform, buffer.pdh_cert_paddr, pdh.certificate) ||
    writeHost(platform, buffer.certs_paddr, chain)
  );
}

export function dfFlush({ asids }: Platform): Status {
  return asids.flush();
}

export function downloadFirmware(
  platform: Platform,
  buffer: BufferOf<'DOWNLOAD_FIRMWARE'>,
): Status {
  if (!isAligned(buffer.paddr, 32)) return STATUS.INVALID_ADDRESS;
  if (buffer.length === 0 || buffer.length > SIZE.FIRMWARE) return STATUS.INVALID_LEN;
  const bytes = readHost(platform, buffer.paddr, buffer.length);
  if (bytes === null) return STATUS.INVALID_ADDRESS;
  const version = readFirmwareImage(bytes);
  if (version === null) return STATUS.BAD_SIGNATURE;
  platform.version = version;
  return STATUS.SUCCESS;
}

export function getId(platform: Platform, buffer: BufferOf<'GET_ID'>): Status {
  const room = buffer.length;
  buffer.length = SIZE.CHIP_ID;
  if (room < SIZE.CHIP_ID) return STATUS.INVALID_LEN;
  return writeHost(platform, buffer.paddr, chipId(platform.chip));
}

export function nop(): Status {
  return STATUS.SUCCESS;
}
