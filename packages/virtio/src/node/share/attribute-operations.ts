/**
 * Operations on what a node is: GETATTR, SETATTR, READLINK, ACCESS, STATFS.
 *
 * Known inaccuracies: times are set through binary64 seconds, exact to about a microsecond.
 */
import {
  attrOut,
  ERRNO,
  FATTR,
  FuseError,
  type FuseRequest,
  GETATTR_FH,
  OP,
  statfsOut,
} from '../../fs/fuse.js';
import { hostSeconds } from './host-clock.js';
import * as host from './host-files.js';
import type { ShareNode } from './node-table.js';
import { NOTHING, type Operations, permissions } from './operation.js';
import type { Session } from './session.js';

const W_OK = 2;

async function getattr(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const { nodes, handles } = session;
  const byHandle = (request.u32(0) & GETATTR_FH) !== 0;
  const stats = byHandle
    ? await session.useFile(handles.file(request.u64(8)), host.fstat)
    : await nodes.use(nodes.node(request.node), ({ fd }) => host.fstat(fd));
  return attrOut(session.attributes(stats));
}

/** fuse_setattr_in. */
async function setattr(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const { nodes } = session;
  const node = nodes.node(request.node);
  const valid = request.u32(0);
  const has = (bit: number) => (valid & bit) !== 0;
  if (has(FATTR.MODE)) await changeMode(session, node, request.u32(68));
  if (has(FATTR.UID) || has(FATTR.GID)) {
    const uid = has(FATTR.UID) ? request.u32(76) : -1;
    const gid = has(FATTR.GID) ? request.u32(80) : -1;
    await changeOwner(session, node, uid, gid);
  }
  if (has(FATTR.SIZE)) await changeSize(session, node, request);
  if (has(FATTR.ATIME) || has(FATTR.MTIME)) await changeTimes(session, node, request);
  const stats = await nodes.use(node, ({ fd }) => host.fstat(fd));
  return attrOut(session.attributes(stats));
}

async function changeMode({ nodes }: Session, node: ShareNode, mode: number): Promise<void> {
  if (node.type === host.S_IFLNK) throw new FuseError(ERRNO.EOPNOTSUPP);
  await nodes.use(node, ({ path }) => host.chmod(path, permissions(mode, node.isDirectory)));
}

async function changeOwner(
  { nodes }: Session,
  node: ShareNode,
  uid: number,
  gid: number,
): Promise<void> {
  if (node.type === host.S_IFLNK) {
    await nodes.atPlace(node, (path) => host.lchown(path, uid, gid).then(() => true));
  } else await nodes.use(node, ({ path }) => host.chown(path, uid, gid));
}

async function changeSize(session: Session, node: ShareNode, request: FuseRequest): Promise<void> {
  const size = request.u64(16);
  if (size >= Number.MAX_SAFE_INTEGER) throw new FuseError(ERRNO.EFBIG);
  if ((request.u32(0) & FATTR.FH) !== 0) {
    const file = session.handles.file(request.u64(8));
    await session.useFile(file, (fd) => host.ftruncate(fd, size));
    return;
  }
  const held = await session.openNode(node, host.O_WRONLY);
  try {
    await host.ftruncate(held.fd, size);
  } finally {
    held.close();
  }
}

async function changeTimes(session: Session, node: ShareNode, request: FuseRequest): Promise<void> {
  const { nodes } = session;
  const { atimeNs, mtimeNs } = await nodes.use(node, ({ fd }) => host.fstat(fd));
  const valid = request.u32(0);
  const time = (set: number, now: number, at: number, nanosecondsAt: number, old: bigint) => {
    if ((valid & set) === 0) return Number(old) / 1e9;
    if ((valid & now) !== 0) return hostSeconds();
    return Number(request.i64(at)) + Math.min(request.u32(nanosecondsAt), 999_999_999) / 1e9;
  };
  const atime = time(FATTR.ATIME, FATTR.ATIME_NOW, 32, 56, atimeNs);
  const mtime = time(FATTR.MTIME, FATTR.MTIME_NOW, 40, 60, mtimeNs);
  // Node takes a negative number for "now", and a text for what it says.
  const times = [String(atime), String(mtime)] as const;
  if (node.type === host.S_IFLNK) {
    await nodes.atPlace(node, (path) => host.lutimes(path, ...times).then(() => true));
  } else await nodes.use(node, ({ path }) => host.utimes(path, ...times));
}

async function readlink({ nodes }: Session, request: FuseRequest): Promise<Uint8Array> {
  const node = nodes.node(request.node);
  if (node.type !== host.S_IFLNK) throw new FuseError(ERRNO.EINVAL);
  return nodes.atPlace(node, (path) => host.readlink(path));
}

async function access({ nodes, policy }: Session, request: FuseRequest): Promise<Uint8Array> {
  const node = nodes.node(request.node);
  const mask = request.u32(0) & 7;
  if (policy.readOnly && (mask & W_OK) !== 0) throw new FuseError(ERRNO.EROFS);
  // Through a link's descriptor the host would look at the link, which everybody may read.
  if (node.type !== host.S_IFLNK) await nodes.use(node, ({ path }) => host.access(path, mask));
  return NOTHING;
}

async function statfs({ nodes }: Session, request: FuseRequest): Promise<Uint8Array> {
  return statfsOut(await nodes.use(nodes.node(request.node), ({ path }) => host.statfs(path)));
}

export const ATTRIBUTE_OPERATIONS: Operations = {
  [OP.GETATTR]: { run: getattr },
  [OP.SETATTR]: { run: setattr, changes: true },
  [OP.READLINK]: { run: readlink },
  [OP.ACCESS]: { run: access },
  [OP.STATFS]: { run: statfs },
};
