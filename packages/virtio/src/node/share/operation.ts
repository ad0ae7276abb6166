/**
 * One operation of FUSE on a share. It gives the body of the reply; a FuseError that it throws, or
 * an error of the host's, is answered with its number.
 */
import type { FuseRequest } from '../../fs/fuse.js';
import type { HeldFd } from './held-fd.js';
import { fstat } from './host-files.js';
import type { Session } from './session.js';

export interface Operation {
  /** Changes the share: refused where that is read-only. */
  readonly changes?: true;
  run(session: Session, request: FuseRequest): Promise<Uint8Array>;
}

export type Operations = Readonly<Record<number, Operation>>;

export const NOTHING = new Uint8Array(0);

const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;

/** Permission bits that the host gets: no program of a guest's runs there as another user. */
export function permissions(mode: number, isDirectory: boolean): number {
  return isDirectory ? mode & 0o7777 : mode & 0o7777 & ~(S_ISUID | S_ISGID);
}

/** Group of what is made in a directory: -1, the host's choice, where that passes its own on. */
export async function groupIn(directory: HeldFd, gid: number): Promise<number> {
  const { mode } = await fstat(directory.fd);
  return (Number(mode) & S_ISGID) === 0 ? gid : -1;
}
