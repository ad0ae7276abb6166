/**
 * `--share DIR[:ro][,tag=TAG]`: a directory of the host's for the guest, as a word of the command
 * line, and the same as an object of the configuration.
 */
import { VmmError } from '@cloister/core';
import type { NamedSource } from './named-source.js';

export interface ShareChoice {
  readonly directory: string;
  readonly readOnly: boolean;
  /** What the guest mounts; by the share's place in the list unless given. */
  readonly tag: string | undefined;
}

export interface RawShare {
  readonly directory: string;
  readonly readOnly?: boolean;
  readonly tag?: string;
}

/** As virtio-fs has it, in bytes of UTF-8. */
const TAG_MAX = 36;

/** A comma always ends the name, as `:ro` does: such names need the configuration. */
function parseWord(word: string): RawShare | string {
  const [place = '', ...parts] = word.split(',');
  const readOnly = place.endsWith(':ro');
  const directory = readOnly ? place.slice(0, -3) : place;
  if (directory === '') return 'no directory is named';
  if (parts.length === 0) return { directory, readOnly };
  const [, tag] = /^tag=(.*)$/.exec(parts.join(',')) ?? [];
  if (tag === undefined) return `${JSON.stringify(parts.join(','))} is not tag=TAG`;
  return { directory, readOnly, tag };
}

export function readShare(value: string | RawShare, source: NamedSource): ShareChoice {
  const refuse = (message: string) => new VmmError(source.code, message, { path: source.name });
  const raw = typeof value === 'string' ? parseWord(value) : value;
  if (typeof raw === 'string') throw refuse(raw);
  const { directory, readOnly = false, tag } = raw;
  const length = tag === undefined ? 1 : Buffer.byteLength(tag);
  if (length === 0 || length > TAG_MAX || tag?.includes('\0')) {
    throw refuse(`${JSON.stringify(tag)} is no tag of 1 to ${TAG_MAX} bytes`);
  }
  return { directory: source.resolvePath(directory), readOnly, tag };
}

/** The tags of shares, in order: `share0`, `share1` and so on where none is given. */
export function tagsOf(shares: readonly ShareChoice[]): string[] {
  return shares.map(({ tag }, index) => tag ?? `share${index}`);
}

/** A tag that two shares have. */
export function doubleTag(shares: readonly ShareChoice[]): string | undefined {
  const tags = tagsOf(shares);
  return tags.find((tag, index) => tags.indexOf(tag) !== index);
}
