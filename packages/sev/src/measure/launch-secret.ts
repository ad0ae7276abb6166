/**
 * Secrets for a measured guest of legacy SEV: the table that OVMF hands on to the guest (edk2,
 * OvmfPkg/AmdSev/SecretDxe; Linux, drivers/virt/coco/efi_secret), and the packet that carries it
 * (SEV API 55766, 6.6 "LAUNCH_SECRET").
 */
import { VmmError } from '@cloister/core';
import { concat, guidBytes, sized, u32 } from '../bytes.js';
import { hashes } from '../hash/port.js';
import { aes128Ctr } from './aes-ctr.js';
import { LAUNCH_MEASURE_SIZE } from './launch-measure.js';
import type { TransportKeys } from './session.js';

export interface GuestSecret {
  /** What it is, by agreement with the guest. */
  readonly guid: string;
  readonly data: Uint8Array;
}

export interface SecretPacket {
  /** flags, IV, MAC: 52 bytes. */
  readonly header: Uint8Array;
  readonly ciphertext: Uint8Array;
}

/** The GUID by which a LUKS passphrase is known. */
export const DISK_PASSWORD_GUID = '736869e5-84f0-4973-92ec-06879ce3da0b';

const TABLE_GUID = guidBytes('1e74f542-71dd-4d66-963e-ef4287ff173b');
const HEADER_SIZE = 20;
const BLOCK = 16;
const SECRET_MAX = 16384;

/** The secrets as the guest finds them, padded with zeros to whole blocks. */
export function secretTable(secrets: readonly GuestSecret[]): Uint8Array {
  const entries = secrets.map(({ guid, data }) =>
    concat(guidBytes(guid), u32(HEADER_SIZE + data.length), data),
  );
  const total = entries.reduce((sum, { length }) => sum + length, HEADER_SIZE);
  const padded = Math.ceil(total / BLOCK) * BLOCK;
  if (padded > SECRET_MAX) {
    const message = `the secrets take ${padded} bytes; the firmware takes ${SECRET_MAX}`;
    throw new VmmError('invalid-argument', message);
  }
  return concat(TABLE_GUID, u32(total), ...entries, new Uint8Array(padded - total));
}

/** Encrypts `plaintext` for the guest that LAUNCH_MEASURE has measured. */
export async function secretPacket(inputs: {
  readonly plaintext: Uint8Array;
  readonly keys: TransportKeys;
  /** Never the same twice with one TEK. */
  readonly iv: Uint8Array;
  /** All 48 bytes of LAUNCH_MEASURE, or the measurement alone. */
  readonly measurement: Uint8Array;
  /** Bit 0: the plaintext is compressed. */
  readonly flags?: number;
}): Promise<SecretPacket> {
  const { plaintext, keys, iv, flags = 0 } = inputs;
  const { length } = plaintext;
  if (length === 0 || length % BLOCK !== 0 || length > SECRET_MAX) {
    const message = `a secret of ${length} bytes is not whole blocks of 16, up to ${SECRET_MAX}`;
    throw new VmmError('invalid-argument', message);
  }
  const measurement =
    inputs.measurement.length === LAUNCH_MEASURE_SIZE
      ? inputs.measurement.subarray(0, 32)
      : sized(inputs.measurement, 32, 'the measurement');
  const ciphertext = await aes128Ctr(keys.tek, iv, plaintext);
  const text = concat(
    Uint8Array.of(0x01),
    u32(flags),
    sized(iv, BLOCK, 'the initialization vector'),
    u32(length),
    u32(length),
    ciphertext,
    measurement,
  );
  const mac = hashes().hmacSha256(sized(keys.tik, BLOCK, 'the TIK'), text);
  return { header: concat(u32(flags), iv, mac), ciphertext };
}
