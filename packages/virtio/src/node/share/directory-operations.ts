/**
 * Operations on open directories: OPENDIR, READDIR, READDIRPLUS, FSYNCDIR, RELEASEDIR.
 *
 * Offsets: 1 is behind `.`, 2 behind `..`, then one for each entry, in the host's order.
 */
import { dirent, ENTRY_SIZE, type FuseRequest, OP, OUT_HEADER, openOut } from '../../fs/fuse.js';
import type { OpenDirectory } from './handle-table.js';
import { within } from './held-fd.js';
import * as host from './host-files.js';
import type { ShareNode } from './node-table.js';
import { NOTHING, type Operations } from './operation.js';
import type { Session } from './session.js';

const DOTS = [Uint8Array.of(0x2e), Uint8Array.of(0x2e, 0x2e)] as const;
/** Type of a fuse_dirent: S_IFMT shifted. */
const typeOf = (mode: bigint) => (Number(mode) & host.S_IFMT) >> 12;
const ROOM_MAX = 65_536;

async function opendir(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const { nodes, handles } = session;
  const node = nodes.directory(request.node);
  const directory = handles.addDirectory(node);
  try {
    // Whether it can be read is to be said now.
    await nodes.use(node, ({ path }) =>
      directory.stream.inTurn(() => directory.stream.begin(path)),
    );
  } catch (error) {
    handles.closeDirectory(directory.id);
    throw error;
  }
  return openOut(directory.id);
}

/** fuse_read_in; entries as far as there is room. */
async function readdir(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const directory = session.handles.directory(request.u64(0));
  const { stream, node } = directory;
  const offset = request.u64(8);
  const isPlus = request.opcode === OP.READDIRPLUS;
  const room = Math.min(request.u32(16), request.room - OUT_HEADER, ROOM_MAX);
  return session.nodes.use(node, ({ path }) =>
    stream.inTurn(async () => {
      if (offset === 0) await stream.rewind();
      const parts: Uint8Array[] = [];
      let left = room;
      for (let index = offset; ; index++) {
        const name = index < DOTS.length ? DOTS[index]! : await stream.name(path, index - 2);
        if (name === null) break;
        const length = 24 + Math.ceil(name.length / 8) * 8 + (isPlus ? ENTRY_SIZE : 0);
        if (length > left) break;
        const part = isPlus
          ? await plusEntry(session, node, index, name)
          : await plainEntry(session, node, index, name);
        // An entry that went away meanwhile is passed over.
        if (part === null) continue;
        parts.push(part);
        left -= length;
      }
      return Buffer.concat(parts);
    }),
  );
}

/** A fuse_dirent; null when the entry is gone. */
async function plainEntry(
  session: Session,
  parent: ShareNode,
  index: number,
  name: Uint8Array,
): Promise<Uint8Array | null> {
  const stats = await session.nodes
    .use(parent, (directory) =>
      index < DOTS.length ? host.fstat(directory.fd) : host.lstat(within(directory, name)),
    )
    .catch(() => null);
  if (stats === null) return null;
  return dirent(session.attributes(stats).ino, index + 1, typeOf(stats.mode), name);
}

/** A fuse_direntplus: what LOOKUP gives, counted as one, and the entry; `.` and `..` are not. */
async function plusEntry(
  session: Session,
  parent: ShareNode,
  index: number,
  name: Uint8Array,
): Promise<Uint8Array | null> {
  if (index < DOTS.length) {
    return plusEntryOf(await plainEntry(session, parent, index, name));
  }
  const found = await session.nodes.lookup(parent, name).catch(() => null);
  // Without room for a further node the guest looks it up itself; it says so then.
  if (found === null) return plusEntryOf(await plainEntry(session, parent, index, name));
  const { ino, mode } = session.attributes(found.stats);
  return Buffer.concat([session.entry(found), dirent(ino, index + 1, typeOf(mode), name)]);
}

/** An entry without a node. */
function plusEntryOf(plain: Uint8Array | null): Uint8Array | null {
  return plain === null ? null : Buffer.concat([new Uint8Array(ENTRY_SIZE), plain]);
}

async function fsyncdir(session: Session, request: FuseRequest): Promise<Uint8Array> {
  const { node }: OpenDirectory = session.handles.directory(request.u64(0));
  await session.nodes.use(node, async ({ path }) => {
    const fd = await host.open(path, host.O_RDONLY | host.O_DIRECTORY);
    await host.fsync(fd).finally(() => host.close(fd));
  });
  return NOTHING;
}

async function releasedir({ handles }: Session, request: FuseRequest): Promise<Uint8Array> {
  handles.closeDirectory(request.u64(0));
  return NOTHING;
}

export const DIRECTORY_OPERATIONS: Operations = {
  [OP.OPENDIR]: { run: opendir },
  [OP.READDIR]: { run: readdir },
  [OP.READDIRPLUS]: { run: readdir },
  [OP.FSYNCDIR]: { run: fsyncdir },
  [OP.RELEASEDIR]: { run: releasedir },
};
