/**
 * `cloister measure id-block`, `hmac` and `secret`: what is made of a launch digest.
 */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { VmmError } from '@cloister/core';
import {
  checkIdAuth,
  checkLaunchMeasure,
  createIdAuth,
  encodeIdBlock,
  importIdKey,
  keyDigest,
  type LaunchMeasureInputs,
  launchMeasure,
  secretPacket,
  secretTable,
} from '@cloister/sev/measure';
import { fileError } from './error-report.js';
import type { HmacFlags, IdBlockFlags, OutputFlags, SecretFlags } from './measure-arguments.js';
import { bigNumber, digestOf, type Inputs, smallNumber } from './measure-input.js';
import { encode, jsonText, type Result } from './measure-output.js';

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

/** `name value` lines, or JSON. */
function fields(values: Readonly<Record<string, unknown>>, { json }: OutputFlags): string {
  const present = Object.entries(values).filter(([, value]) => value !== undefined);
  if (json) return jsonText(Object.fromEntries(present));
  return present.map(([name, value]) => `${kebab(name)} ${String(value)}\n`).join('');
}

const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

export async function idBlock(flags: IdBlockFlags, inputs: Inputs): Promise<Result> {
  const { block, auth, measurement, idKey, authorKey } = flags;
  if (block !== undefined && auth !== undefined) return check(flags, block, auth, inputs);
  if (measurement === undefined || idKey === undefined) {
    const remedy = 'or --block and --auth, to check';
    throw new VmmError('invalid-argument', '--measurement and --id-key are needed', { remedy });
  }
  const { familyId, imageId, guestSvn = '0', policy = '0x30000' } = flags;
  const bytes = encodeIdBlock({
    digest: digestOf('--measurement', measurement, 48),
    ...(familyId === undefined ? {} : { familyId: digestOf('--family-id', familyId, 16) }),
    ...(imageId === undefined ? {} : { imageId: digestOf('--image-id', imageId, 16) }),
    guestSvn: smallNumber('--guest-svn', guestSvn),
    policy: BigInt.asUintN(64, bigNumber('--policy', policy)),
  });
  const id = await importIdKey(inputs.privateKey('--id-key', idKey));
  const author =
    authorKey === undefined
      ? undefined
      : await importIdKey(inputs.privateKey('--author-key', authorKey));
  const made = await createIdAuth(bytes, author === undefined ? { id } : { id, author });
  const values = {
    idBlock: base64(bytes),
    idAuth: base64(made),
    idKeyDigest: encode(keyDigest(id.publicKey), flags),
    authorKeyDigest: author && encode(keyDigest(author.publicKey), flags),
  };
  return { text: fields(values, flags), ok: true };
}

async function check(
  flags: IdBlockFlags,
  block: string,
  auth: string,
  inputs: Inputs,
): Promise<Result> {
  const result = await checkIdAuth(
    inputs.bytes('--block', block, 96),
    inputs.bytes('--auth', auth, 4096),
  );
  const { blockSigned, keySigned, idKeyDigest, authorKeyDigest } = result;
  const values = {
    blockSigned,
    keySigned,
    idKeyDigest: encode(idKeyDigest, flags),
    authorKeyDigest: authorKeyDigest && encode(authorKeyDigest, flags),
  };
  return { text: fields(values, flags), ok: blockSigned && keySigned !== false };
}

export function hmac(flags: HmacFlags, inputs: Inputs): Result {
  const common = {
    version: {
      major: smallNumber('--api-major', flags.apiMajor, 0xff),
      minor: smallNumber('--api-minor', flags.apiMinor, 0xff),
      build: smallNumber('--build-id', flags.buildId, 0xff),
    },
    policy: smallNumber('--policy', flags.policy),
    digest: digestOf('--digest', flags.digest, 32),
    tik: inputs.bytes('--tik', flags.tik, 16),
  };
  const { mac, matches } = measurementOf(common, flags, inputs);
  const ok = matches ?? true;
  if (!flags.json) return { text: `${encode(mac, flags)}\n`, ok };
  const values = {
    measurement: encode(mac, flags),
    ...(matches === undefined ? {} : { matches }),
  };
  return { text: jsonText(values), ok };
}

/** The measurement with a nonce, or that of a blob, and whether it is the blob's. */
export function measurementOf(
  launch: Omit<LaunchMeasureInputs, 'nonce'>,
  flags: Pick<HmacFlags, 'nonce' | 'launchMeasureBlob'>,
  inputs: Inputs,
): { readonly mac: Uint8Array; readonly matches: boolean | undefined } {
  const { nonce, launchMeasureBlob: given } = flags;
  if ((nonce === undefined) === (given === undefined)) {
    const message = '--nonce, or --launch-measure-blob to check, is needed';
    throw new VmmError('invalid-argument', message);
  }
  const blob = given === undefined ? undefined : inputs.bytes('--launch-measure-blob', given, 48);
  const mac = launchMeasure({
    ...launch,
    nonce: blob?.subarray(32) ?? digestOf('--nonce', nonce!, 16),
  });
  return { mac, matches: blob && checkLaunchMeasure(blob, launch) };
}

export async function secret(flags: SecretFlags, inputs: Inputs): Promise<Result> {
  const keys = {
    tek: inputs.bytes('--tek', flags.tek, 16),
    tik: inputs.bytes('--tik', flags.tik, 16),
  };
  const packet = await secretPacket({
    plaintext: secretTable(flags.secret.map((each) => secretOf(each, inputs))),
    keys,
    iv: flags.iv === undefined ? randomBytes(16) : digestOf('--iv', flags.iv, 16),
    measurement: inputs.bytes('--launch-measure-blob', flags.launchMeasureBlob, 48),
  });
  const { headerFile, secretFile } = flags;
  if (headerFile !== undefined) write('header', inputs.path(headerFile), packet.header);
  if (secretFile !== undefined) write('secret', inputs.path(secretFile), packet.ciphertext);
  const values = {
    header: headerFile === undefined ? base64(packet.header) : undefined,
    secret: secretFile === undefined ? base64(packet.ciphertext) : undefined,
  };
  return { text: fields(values, flags), ok: true };
}

function secretOf(value: string, inputs: Inputs): { guid: string; data: Uint8Array } {
  const colon = value.indexOf(':');
  if (colon > 0) {
    return { guid: value.slice(0, colon), data: inputs.file('secret', value.slice(colon + 1)) };
  }
  const message = `--secret ${JSON.stringify(value)} is not GUID:FILE`;
  throw new VmmError('invalid-argument', message);
}

function write(what: string, path: string, bytes: Uint8Array): void {
  try {
    writeFileSync(path, bytes, { mode: 0o600 });
  } catch (cause) {
    throw fileError(what, path, cause);
  }
}
