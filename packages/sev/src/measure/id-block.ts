/**
 * The ID block of an SNP launch, by which a guest's owner binds it to one measurement and policy,
 * and the ID authentication information that signs it (SNP firmware ABI 56860, 8.18
 * "SNP_LAUNCH_FINISH", tables of the ID block and of the ID authentication information).
 */
import { VmmError } from '@cloister/core';
import { concat, equalBytes, part, sized, u32, u64, viewOf } from '../bytes.js';
import {
  ID_KEY_SIZE,
  ID_SIGNATURE_SIZE,
  type IdKey,
  keyDigest,
  signBytes,
  verifyBytes,
} from './id-key.js';

export interface IdBlock {
  /** The expected launch digest. */
  readonly digest: Uint8Array;
  /** 16 bytes each, the owner's; zero if absent. */
  readonly familyId?: Uint8Array;
  readonly imageId?: Uint8Array;
  readonly guestSvn?: number;
  /** The SNP guest policy; the launch must ask for the same. */
  readonly policy: bigint;
}

export const ID_BLOCK_SIZE = 96;
export const ID_AUTH_SIZE = 4096;

const VERSION = 1;
const ALGORITHM_P384 = 1;
const AUTH = { idSignature: 0x40, idKey: 0x240, authorSignature: 0x680, authorKey: 0x880 } as const;

export function encodeIdBlock(block: IdBlock): Uint8Array {
  const none = new Uint8Array(16);
  return concat(
    sized(block.digest, 48, 'the launch digest'),
    sized(block.familyId ?? none, 16, 'the family ID'),
    sized(block.imageId ?? none, 16, 'the image ID'),
    u32(VERSION),
    u32(block.guestSvn ?? 0),
    u64(block.policy),
  );
}

export function decodeIdBlock(bytes: Uint8Array): Required<IdBlock> {
  const view = viewOf(sized(bytes, ID_BLOCK_SIZE, 'an ID block'));
  const version = view.getUint32(0x50, true);
  if (version !== VERSION) throw new VmmError('unsupported', `ID block of version ${version}`);
  return {
    digest: bytes.slice(0, 0x30),
    familyId: bytes.slice(0x30, 0x40),
    imageId: bytes.slice(0x40, 0x50),
    guestSvn: view.getUint32(0x54, true),
    policy: view.getBigUint64(0x58, true),
  };
}

/** Signs an ID block; an author key, if there is one, signs the ID key. */
export async function createIdAuth(
  block: Uint8Array,
  keys: { readonly id: IdKey; readonly author?: IdKey },
): Promise<Uint8Array> {
  const { id, author } = keys;
  const auth = new Uint8Array(ID_AUTH_SIZE);
  auth.set(u32(ALGORITHM_P384), 0);
  auth.set(await signBytes(id, sized(block, ID_BLOCK_SIZE, 'an ID block')), AUTH.idSignature);
  auth.set(id.publicKey, AUTH.idKey);
  if (author === undefined) return auth;
  auth.set(u32(ALGORITHM_P384), 4);
  auth.set(await signBytes(author, id.publicKey), AUTH.authorSignature);
  auth.set(author.publicKey, AUTH.authorKey);
  return auth;
}

export interface IdAuthResult {
  /** The ID key has signed the block. */
  readonly blockSigned: boolean;
  /** The author key has signed the ID key; undefined without an author key. */
  readonly keySigned: boolean | undefined;
  readonly idKeyDigest: Uint8Array;
  readonly authorKeyDigest: Uint8Array | undefined;
}

/** Checks what `createIdAuth` makes, as the firmware would. */
export async function checkIdAuth(block: Uint8Array, auth: Uint8Array): Promise<IdAuthResult> {
  sized(block, ID_BLOCK_SIZE, 'an ID block');
  const view = viewOf(sized(auth, ID_AUTH_SIZE, 'the ID authentication information'));
  const field = (at: number, size: number) => part(auth, at, size, 'a field');
  const idKey = field(AUTH.idKey, ID_KEY_SIZE);
  const authorKey = field(AUTH.authorKey, ID_KEY_SIZE);
  const hasAuthor = !equalBytes(authorKey, new Uint8Array(ID_KEY_SIZE));
  const verify = async (algorithm: number, key: Uint8Array, at: number, bytes: Uint8Array) =>
    view.getUint32(algorithm, true) === ALGORITHM_P384 &&
    (await verifyBytes(key, field(at, ID_SIGNATURE_SIZE), bytes));
  return {
    blockSigned: await verify(0, idKey, AUTH.idSignature, block),
    keySigned: hasAuthor ? await verify(4, authorKey, AUTH.authorSignature, idKey) : undefined,
    idKeyDigest: keyDigest(idKey),
    authorKeyDigest: hasAuthor ? keyDigest(authorKey) : undefined,
  };
}
