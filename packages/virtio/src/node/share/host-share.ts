/**
 * A directory of the host's as a share: a FUSE server, read-only or not, confined to it (see
 * node-table.ts). Needs Linux, for O_PATH and /proc/self/fd.
 *
 * Host errors are answered with their numbers. What Node cannot do is answered with ENOSYS, upon
 * which Linux does without it: extended attributes, SEEK_HOLE, fallocate, copy_file_range, locks,
 * ioctls, O_TMPFILE. When a VM is saved, names that the guest knows and open files are kept by name
 * and inode: they are found again if they are as they were, and ESTALE otherwise.
 */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { type SnapshotValue, VmmError } from '@cloister/core';
import { ERRNO, FuseError, FuseRequest, initOut, OP, OUT_HEADER, reply } from '../../fs/fuse.js';
import type { ShareServer } from '../../fs/share.js';
import { ATTRIBUTE_OPERATIONS } from './attribute-operations.js';
import { DIRECTORY_OPERATIONS } from './directory-operations.js';
import { FILE_OPERATIONS } from './file-operations.js';
import { HeldFd } from './held-fd.js';
import { O_DIRECTORY, O_PATH } from './host-files.js';
import { NAME_OPERATIONS } from './name-operations.js';
import { keyOf } from './node-table.js';
import { NOTHING, type Operations } from './operation.js';
import { Session, type SharePolicy, savedSession } from './session.js';

export interface HostShareOptions {
  readonly directory: string;
  /** The guest may change nothing; false unless given. */
  readonly readOnly?: boolean;
}

const OPERATIONS: Operations = {
  ...NAME_OPERATIONS,
  ...ATTRIBUTE_OPERATIONS,
  ...FILE_OPERATIONS,
  ...DIRECTORY_OPERATIONS,
};

/** FORGETs in one BATCH_FORGET: as many as a request holds. */
const FORGET_ONE = 16;

class HostShare implements ShareServer {
  private session: Session;
  private isClosed = false;

  constructor(
    private readonly root: HeldFd,
    private readonly policy: SharePolicy,
  ) {
    this.session = this.fresh();
  }

  private fresh(): Session {
    const stats = fstatSync(this.root.fd, { bigint: true });
    return new Session(this.policy, this.root, stats, keyOf(stats));
  }

  async answer(bytes: Uint8Array, room: number): Promise<Uint8Array> {
    const request = new FuseRequest(bytes, room);
    try {
      const body = await this.run(request);
      if (body === null || room < OUT_HEADER) return NOTHING;
      if (OUT_HEADER + body.length > room) throw new FuseError(ERRNO.EIO);
      return reply(request.unique, 0, body);
    } catch (error) {
      return room < OUT_HEADER ? NOTHING : reply(request.unique, errnoOf(error), NOTHING);
    }
  }

  /** The body of a reply; null where there is none. */
  private async run(request: FuseRequest): Promise<Uint8Array | null> {
    const { session } = this;
    switch (request.opcode) {
      case OP.INIT: {
        const body = initOut(request);
        this.reset();
        this.session.isInitialized = true;
        return body;
      }
      case OP.DESTROY:
        this.reset();
        return NOTHING;
      case OP.FORGET:
        session.nodes.forget(request.node, request.u64(0));
        return null;
      case OP.BATCH_FORGET:
        forgetAll(session, request);
        return null;
      // What is asked of the host ends by itself.
      case OP.INTERRUPT:
      case OP.NOTIFY_REPLY:
        return null;
    }
    const operation = OPERATIONS[request.opcode];
    if (operation === undefined) throw new FuseError(ERRNO.ENOSYS);
    if (!session.isInitialized) throw new FuseError(ERRNO.EIO);
    if (operation.changes && this.policy.readOnly) throw new FuseError(ERRNO.EROFS);
    return operation.run(session, request);
  }

  reset(): void {
    if (this.isClosed) return;
    this.session.close();
    this.session = this.fresh();
  }

  save(): SnapshotValue {
    return this.session.save();
  }

  load(saved: SnapshotValue): void {
    this.reset();
    const known = savedSession(saved);
    if (known === null) return;
    try {
      this.session.load(known);
    } catch {
      // Handles of nodes that it does not name.
      this.reset();
    }
  }

  close(): void {
    this.session.close();
    this.isClosed = true;
    this.root.close();
  }
}

/** fuse_batch_forget_in, then pairs of node and count. */
function forgetAll({ nodes }: Session, request: FuseRequest): void {
  const count = Math.min(request.u32(0), Math.floor((request.body.length - 8) / FORGET_ONE));
  for (let index = 0; index < count; index++) {
    const at = 8 + FORGET_ONE * index;
    nodes.forget(request.u64(at), request.u64(at + 8));
  }
}

function errnoOf(error: unknown): number {
  if (error instanceof FuseError) return error.errno;
  const { errno } = error as NodeJS.ErrnoException;
  return typeof errno === 'number' && errno < 0 && errno > -4096 ? -errno : ERRNO.EIO;
}

/** Opens a share. `VmmError('invalid-file')` when there is no such directory. */
export function hostShare({ directory, readOnly = false }: HostShareOptions): ShareServer {
  if (process.platform !== 'linux') {
    throw new VmmError('unsupported', 'directories are shared on Linux only');
  }
  let fd: number | undefined;
  try {
    fd = openSync(directory, O_PATH | O_DIRECTORY);
    closeSync(openSync(`/proc/self/fd/${fd}`, O_PATH | O_DIRECTORY));
  } catch (cause) {
    if (fd !== undefined) closeSync(fd);
    const { code } = cause as NodeJS.ErrnoException;
    const why = fd === undefined ? (REASONS[code ?? ''] ?? String(cause)) : '/proc is not mounted';
    throw new VmmError('invalid-file', `share ${directory}: ${why}`, { cause });
  }
  return new HostShare(new HeldFd(fd), { readOnly, ownsAll: process.geteuid?.() === 0 });
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such directory',
  ENOTDIR: 'it is no directory',
  EACCES: 'permission denied',
};
