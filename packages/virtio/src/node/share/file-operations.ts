/**
 * Operations on open files: OPEN, CREATE, READ, WRITE, FLUSH, FSYNC, RELEASE.
 */
import {
  DATA_MAX,
  ERRNO,
  FSYNC_FDATASYNC,
  FuseError,
  type FuseRequest,
  OP,
  OUT_HEADER,
  openOut,
  writeOut,
} from '../../fs/fuse.js';
import { KEPT_FLAGS } from './handle-table.js';
import { HeldFd, within } from './held-fd.js';
import * as host from './host-files.js';
import type { Place, ShareNode } from './node-table.js';
import { groupIn, NOTHING, type Operations, permissions } from './operation.js';
import type { Session } from './session.js';

const OFFSET_MAX = 2 ** 52;

/** Flags for the host, checked against the share's policy. */
function checkedFlags({ policy }: Session, asked: number): number {
  const mode = asked & host.O_ACCMODE;
  if (mode === host.O_ACCMODE) throw new FuseError(ERRNO.EINVAL);
  const changes = mode !== host.O_RDONLY || (asked & host.O_TRUNC) !== 0;
  if (policy.readOnly && changes) throw new FuseError(ERRNO.EROFS);
  return mode | (asked & (KEPT_FLAGS | host.O_TRUNC));
}

async function openExisting(session: Session, node: ShareNode, asked: number): Promise<Uint8Array> {
  const flags = checkedFlags(session, asked);
  session.handles.checkFiles();
  const held = await session.openNode(node, flags);
  return openOut(session.handles.addFile(node, flags & ~host.O_TRUNC, held).id);
}

function open(session: Session, request: FuseRequest): Promise<Uint8Array> {
  return openExisting(session, session.nodes.node(request.node), request.u32(0));
}

/** Makes a file where none is, for the user that asks. */
export async function makeFile(
  { nodes, policy }: Session,
  request: FuseRequest,
  place: Place,
  flags: number,
  mode: number,
): Promise<HeldFd> {
  return nodes.use(place.parent, async (directory) => {
    const exclusive = host.O_CREAT | host.O_EXCL | host.O_NOFOLLOW;
    const path = within(directory, place.name);
    const file = new HeldFd(await host.open(path, flags | exclusive, mode));
    try {
      if (policy.ownsAll) {
        await host.chown(file.path, request.uid, await groupIn(directory, request.gid));
      }
      // The host's umask is not the guest's.
      await host.fchmod(file.fd, mode);
      return file;
    } catch (error) {
      file.close();
      throw error;
    }
  });
}

/** fuse_create_in: flags, mode, umask, open_flags, then the name. */
async function create(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const { nodes, handles } = session;
  const parent = nodes.directory(request.node);
  const asked = request.u32(0);
  const mode = permissions(request.u32(4), false);
  const name = request.name(16);
  const flags = checkedFlags(session, asked) & ~host.O_TRUNC;
  handles.checkFiles();
  const opened = await makeFile(session, request, { parent, name }, flags, mode).catch((error) => {
    const exists = (error as NodeJS.ErrnoException).code === 'EEXIST';
    if (exists && (asked & host.O_EXCL) === 0) return null;
    throw error;
  });
  // Somebody else made it meanwhile.
  if (opened === null) {
    const found = await nodes.lookup(parent, name);
    const body = await openExisting(session, found.node, asked).catch((error) => {
      nodes.forget(found.node.id, 1);
      throw error;
    });
    return Buffer.concat([session.entry(found), body]);
  }
  try {
    const found = await nodes.adopt(parent, name, await host.open(opened.path, host.O_PATH));
    const handle = handles.addFile(found.node, flags, opened);
    return Buffer.concat([session.entry(found), openOut(handle.id)]);
  } catch (error) {
    opened.close();
    throw error;
  }
}

function checkedOffset(offset: number): number {
  if (offset > OFFSET_MAX) throw new FuseError(ERRNO.EFBIG);
  return offset;
}

async function read(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const file = session.handles.file(request.u64(0));
  const offset = checkedOffset(request.u64(8));
  const size = Math.max(0, Math.min(request.u32(16), request.room - OUT_HEADER, DATA_MAX));
  const data = Buffer.alloc(size);
  let done = 0;
  await session.useFile(file, async (fd) => {
    while (done < size) {
      const { bytesRead } = await host.read(fd, data, done, size - done, offset + done);
      if (bytesRead === 0) return;
      done += bytesRead;
    }
  });
  return data.subarray(0, done);
}

async function write(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const file = session.handles.file(request.u64(0));
  const offset = checkedOffset(request.u64(8));
  const size = request.u32(16);
  const data = request.body.subarray(40, 40 + size);
  if (data.length < size || size > DATA_MAX) throw new FuseError(ERRNO.EINVAL);
  let done = 0;
  await session.useFile(file, async (fd) => {
    while (done < size) {
      // What was written before an error counts; the guest meets the error next time.
      const part = host.write(fd, data, done, size - done, offset + done);
      const { bytesWritten } = await part.catch((error) => {
        if (done > 0) return { bytesWritten: 0 };
        throw error;
      });
      if (bytesWritten === 0) return;
      done += bytesWritten;
    }
  });
  return writeOut(done);
}

async function fsync(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const sync = (request.u32(8) & FSYNC_FDATASYNC) === 0 ? host.fsync : host.fdatasync;
  await session.useFile(session.handles.file(request.u64(0)), sync);
  return NOTHING;
}

async function release({ handles }: Session, request: FuseRequest): Promise<Uint8Array> {
  handles.closeFile(request.u64(0));
  return NOTHING;
}

export const FILE_OPERATIONS: Operations = {
  [OP.OPEN]: { run: open },
  [OP.CREATE]: { run: create, changes: true },
  [OP.READ]: { run: read },
  [OP.WRITE]: { run: write, changes: true },
  // Nothing is kept back here that closing would have to write.
  [OP.FLUSH]: { run: async () => NOTHING },
  [OP.FSYNC]: { run: fsync },
  [OP.RELEASE]: { run: release },
};
