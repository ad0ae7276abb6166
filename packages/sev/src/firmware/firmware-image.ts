/**
 * Images for DOWNLOAD_FIRMWARE (SEV API 55766, 5.12). AMD's are signed by AMD and made for another
 * processor: an emulated one refuses them with BAD_SIGNATURE, as a chip does with an image that is
 * not for it. Its own images carry nothing but the version that the platform then names, in the
 * place where AMD's have it: build, minor and major at 0x60.
 */
import { concat, equalBytes, u32 } from '../bytes.js';
import { hashes } from '../hash/port.js';
import type { FirmwareVersion } from '../measure/launch-measure.js';

const MAGIC = new TextEncoder().encode('CLOISTER-EMU-SEV');
const VERSION = 0x60;
const BODY = 0xe0;

/** An image of this version for emulated processors, 256 bytes. */
export function firmwareImage({ major, minor, build }: FirmwareVersion): Uint8Array {
  const body = new Uint8Array(BODY);
  body.set(MAGIC);
  body.set(u32((major << 16) | (minor << 8) | build), VERSION);
  return concat(body, hashes().sha256(body));
}

/** The version of an image; null if it is not for an emulated processor, or damaged. */
export function readFirmwareImage(bytes: Uint8Array): FirmwareVersion | null {
  const body = bytes.subarray(0, BODY);
  if (!equalBytes(body.subarray(0, MAGIC.length), MAGIC)) return null;
  if (!equalBytes(hashes().sha256(body), bytes.subarray(BODY))) return null;
  const [build, minor, major] = body.subarray(VERSION);
  return { major: major!, minor: minor!, build: build! };
}
