/**
 * Operations on the names in a directory: LOOKUP, MKNOD, MKDIR, SYMLINK, UNLINK, RMDIR, RENAME and
 * LINK. Devices, pipes and sockets are not made.
 */
import {
  checkedName,
  checkedTarget,
  ERRNO,
  FuseError,
  type FuseRequest,
  OP,
} from '../../fs/fuse.js';
import { type HeldFd, within } from './held-fd.js';
import * as host from './host-files.js';
import type { NodeTable, ShareNode } from './node-table.js';
import { NOTHING, type Operations, permissions } from './operation.js';
import type { Session } from './session.js';

const RENAME_NOREPLACE = 1;

async function lookup(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const { nodes } = session;
  const parent = nodes.directory(request.node);
  return session.entry(await nodes.lookup(parent, request.name(0)));
}

/** Looks up what was just made, and gives it to the user that made it. */
async function made(
  session: Session,
  request: FuseRequest,
  parent: ShareNode,
  name: Uint8Array,
  mode: number | null,
): Promise<Uint8Array> {
  const { nodes, policy } = session;
  const found = await nodes.lookup(parent, name);
  const { node } = found;
  if (policy.ownsAll) {
    if (node.type === host.S_IFLNK) {
      await nodes.atPlace(node, (at) => host.lchown(at, request.uid, request.gid).then(() => true));
    } else await nodes.use(node, ({ path }) => host.chown(path, request.uid, request.gid));
  }
  // The host's umask is not the guest's.
  if (mode !== null) {
    await nodes.use(node, ({ path }) => host.chmod(path, permissions(mode, node.isDirectory)));
  }
  return session.entry({ node, stats: await nodes.use(node, ({ fd }) => host.fstat(fd)) });
}

async function mknod(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const { nodes } = session;
  const parent = nodes.directory(request.node);
  const mode = request.u32(0);
  const name = request.name(16);
  const type = mode & host.S_IFMT;
  if (type !== 0 && type !== host.S_IFREG) throw new FuseError(ERRNO.EPERM);
  await nodes.use(parent, async (directory) => {
    const flags = host.O_CREAT | host.O_EXCL | host.O_NOFOLLOW | host.O_RDONLY;
    const file = await host.open(within(directory, name), flags, permissions(mode, false));
    await host.close(file);
  });
  return made(session, request, parent, name, mode);
}

async function mkdir(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const { nodes } = session;
  const parent = nodes.directory(request.node);
  const mode = request.u32(0);
  const name = request.name(8);
  await nodes.use(parent, (directory) => {
    return host.mkdir(within(directory, name), permissions(mode, true));
  });
  return made(session, request, parent, name, mode);
}

async function symlink(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const { nodes } = session;
  const parent = nodes.directory(request.node);
  const [name, target] = request.texts(0, 2) as [Uint8Array, Uint8Array];
  checkedName(name);
  checkedTarget(target);
  await nodes.use(parent, (directory) => {
    return host.symlink(Buffer.from(target), within(directory, name));
  });
  return made(session, request, parent, name, null);
}

/** Removes a name, and the place of the node that had it. */
function removal(remove: (path: Buffer) => Promise<void>) {
  return async ({ nodes }: Session, request: FuseRequest): Promise<Uint8Array> => {
    const parent = nodes.directory(request.node);
    const name = request.name(0);
    await nodes.use(parent, async (directory) => {
      const node = await knownAt(nodes, directory, name);
      await remove(within(directory, name));
      if (node !== undefined) nodes.removePlace(node, { parent, name });
    });
    return NOTHING;
  };
}

/** The node of what a name stands for now, if the guest knows it. */
async function knownAt(
  nodes: NodeTable,
  directory: HeldFd,
  name: Uint8Array,
): Promise<ShareNode | undefined> {
  const stats = await host.lstat(within(directory, name)).catch(() => undefined);
  return stats === undefined ? undefined : nodes.known(stats);
}

/** RENAME and RENAME2: of the flags only NOREPLACE, the others need a call that Node has not. */
async function rename({ nodes }: Session, request: FuseRequest): Promise<Uint8Array> {
  const isSecond = request.opcode === OP.RENAME2;
  const flags = isSecond ? request.u32(8) : 0;
  if ((flags & ~RENAME_NOREPLACE) !== 0) throw new FuseError(ERRNO.EINVAL);
  const parent = nodes.directory(request.node);
  const newParent = nodes.directory(request.u64(0));
  const [name, newName] = request.texts(isSecond ? 16 : 8, 2) as [Uint8Array, Uint8Array];
  checkedName(name);
  checkedName(newName);
  await nodes.use(parent, (from) =>
    nodes.use(newParent, async (to) => {
      const moved = await knownAt(nodes, from, name);
      const replaced = await knownAt(nodes, to, newName);
      const [source, target] = [within(from, name), within(to, newName)];
      if (flags === RENAME_NOREPLACE) await renameToNew(source, target);
      else await host.rename(source, target);
      // Two names of one object stay two names.
      if (moved !== undefined && moved === replaced) return;
      if (replaced !== undefined) {
        nodes.removePlace(replaced, { parent: newParent, name: newName });
      }
      if (moved === undefined) return;
      nodes.addPlace(moved, { parent: newParent, name: newName });
      nodes.removePlace(moved, { parent, name });
    }),
  );
  return NOTHING;
}

/** Moves to a name that nobody may have: what makes the new name fails where there is one. */
async function renameToNew(source: Buffer, target: Buffer): Promise<void> {
  const stats = await host.lstat(source);
  if (!stats.isDirectory()) {
    await host.link(source, target);
    await host.unlink(source);
    return;
  }
  await host.mkdir(target, 0o700);
  try {
    await host.rename(source, target);
  } catch (error) {
    await host.rmdir(target).catch(() => {});
    throw error;
  }
}

async function link(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const { nodes } = session;
  const parent = nodes.directory(request.node);
  const node = nodes.node(request.u64(0));
  const name = request.name(8);
  if (node.isDirectory) throw new FuseError(ERRNO.EPERM);
  await nodes.use(parent, (directory) => {
    const target = within(directory, name);
    return nodes.atPlace(node, (path) => host.link(path, target).then(() => true));
  });
  return session.entry(await nodes.lookup(parent, name));
}

export const NAME_OPERATIONS: Operations = {
  [OP.LOOKUP]: { run: lookup },
  [OP.MKNOD]: { run: mknod, changes: true },
  [OP.MKDIR]: { run: mkdir, changes: true },
  [OP.SYMLINK]: { run: symlink, changes: true },
  [OP.UNLINK]: { run: removal(host.unlink), changes: true },
  [OP.RMDIR]: { run: removal(host.rmdir), changes: true },
  [OP.RENAME]: { run: rename, changes: true },
  [OP.RENAME2]: { run: rename, changes: true },
  [OP.LINK]: { run: link, changes: true },
};
