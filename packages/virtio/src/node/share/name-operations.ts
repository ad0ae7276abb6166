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
import { makeFile } from './file-operations.js';
import { type HeldFd, within } from './held-fd.js';
import * as host from './host-files.js';
import type { NodeTable, Place, ShareNode } from './node-table.js';
import { groupIn, NOTHING, type Operations, permissions, S_ISGID } from './operation.js';
import type { Session } from './session.js';

const RENAME_NOREPLACE = 1;

async function lookup(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const { nodes } = session;
  const parent = nodes.directory(request.node);
  return session.entry(await nodes.lookup(parent, request.name(0)));
}

/** Looks up what was just made; what somebody else put there meanwhile is not given away. */
async function made(session: Session, { parent, name }: Place, type: number): Promise<ShareNode> {
  const { node } = await session.nodes.lookup(parent, name);
  if (node.type === type) return node;
  session.nodes.forget(node.id, 1);
  throw new FuseError(ERRNO.ESTALE);
}

async function entryOf(session: Session, node: ShareNode): Promise<Uint8Array> {
  return session.entry({ node, stats: await session.nodes.use(node, ({ fd }) => host.fstat(fd)) });
}

async function mknod(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const { nodes } = session;
  const parent = nodes.directory(request.node);
  const mode = request.u32(0);
  const name = request.name(16);
  const type = mode & host.S_IFMT;
  if (type !== 0 && type !== host.S_IFREG) throw new FuseError(ERRNO.EPERM);
  const place = { parent, name };
  const file = await makeFile(session, request, place, host.O_RDONLY, permissions(mode, false));
  try {
    return session.entry(await nodes.adopt(parent, name, await host.open(file.path, host.O_PATH)));
  } finally {
    file.close();
  }
}

async function mkdir(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const { nodes, policy } = session;
  const parent = nodes.directory(request.node);
  const mode = permissions(request.u32(0), true);
  const name = request.name(8);
  const gid = await nodes.use(parent, async (directory) => {
    await host.mkdir(within(directory, name), mode);
    return groupIn(directory, request.gid);
  });
  const node = await made(session, { parent, name }, host.S_IFDIR);
  await nodes.use(node, async ({ fd, path }) => {
    if (policy.ownsAll) await host.chown(path, request.uid, gid);
    // The host's umask is not the guest's; a bit that comes from the directory above stays.
    const passedOn = Number((await host.fstat(fd)).mode) & S_ISGID;
    await host.chmod(path, mode | passedOn);
  });
  return entryOf(session, node);
}

async function symlink(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const { nodes, policy } = session;
  const parent = nodes.directory(request.node);
  const [name, target] = request.texts(0, 2) as [Uint8Array, Uint8Array];
  checkedName(name);
  checkedTarget(target);
  const gid = await nodes.use(parent, async (directory) => {
    await host.symlink(Buffer.from(target), within(directory, name));
    return groupIn(directory, request.gid);
  });
  const node = await made(session, { parent, name }, host.S_IFLNK);
  if (policy.ownsAll) {
    await nodes.atPlace(node, (path) => host.lchown(path, request.uid, gid).then(() => true));
  }
  return entryOf(session, node);
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
