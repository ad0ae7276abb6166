/**
 * `--vsock DIR[,cid=N]`: the sockets of a socket device, as a word of the command line, and the
 * same as an object of the configuration.
 */
import { VmmError } from '@cloister/core';
import type { NamedSource } from './named-source.js';
import { parseInteger } from './quantity.js';

export interface VsockChoice {
  /** Where the sockets lie. */
  readonly directory: string;
  /** The guest's address. */
  readonly cid: number | undefined;
}

export interface RawVsock {
  readonly directory: string;
  readonly cid?: number | string;
}

/** Addresses below 3 and the last one have other meanings. */
const CID_FIRST = 3;
const CID_LAST = 0xffff_fffe;

function parseWord(word: string): RawVsock | string {
  const [directory = '', ...parts] = word.split(',');
  if (directory === '') return 'no directory is named';
  if (parts.length === 0) return { directory };
  const [, cid] = /^cid=(.*)$/.exec(parts.join(',')) ?? [];
  if (cid === undefined) return `${JSON.stringify(parts.join(','))} is not cid=N`;
  return { directory, cid };
}

export function readVsock(value: string | RawVsock, source: NamedSource): VsockChoice {
  const refuse = (message: string) => new VmmError(source.code, message, { path: source.name });
  const raw = typeof value === 'string' ? parseWord(value) : value;
  if (typeof raw === 'string') throw refuse(raw);
  const cid = raw.cid === undefined ? undefined : parseInteger(raw.cid);
  const isAddress = cid !== undefined && cid >= CID_FIRST && cid <= CID_LAST;
  if (raw.cid !== undefined && !isAddress) {
    throw refuse(`${JSON.stringify(raw.cid)} is no address of a guest, from 3 to 4294967294`);
  }
  return { directory: source.resolvePath(raw.directory), cid };
}
