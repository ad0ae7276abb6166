/**
 * A guest's use of a share, from INIT (or a reset) to the next: its nodes, its handles, and what
 * several operations have in common.
 */
import { state } from '@cloister/core/devices';
import { type Attributes, ERRNO, entryOut, FuseError } from '../../fs/fuse.js';
import { HandleTable, type OpenFile } from './handle-table.js';
import { HeldFd } from './held-fd.js';
import * as host from './host-files.js';
import { NodeTable, ROOT_ID, type SavedNode, type ShareNode } from './node-table.js';
import { permissions } from './operation.js';

type Stats = Awaited<ReturnType<typeof host.fstat>>;

export interface SharePolicy {
  readonly readOnly: boolean;
  /** Whether files are given to the guest's user that makes them: the VMM is root. */
  readonly ownsAll: boolean;
}

const number = state.int(0, Number.MAX_SAFE_INTEGER);
const handle = state.int(1, Number.MAX_SAFE_INTEGER);
/** Beside the root's, which is not saved. */
const nodeId = state.int(ROOT_ID + 1, Number.MAX_SAFE_INTEGER);
const text: state.Field<string> = (value, path) => {
  if (typeof value === 'string') return value;
  throw new TypeError(`${path} is no text`);
};
const MANY = 2 ** 20;

/** A session as it is saved. */
const savedField = state.record({
  initialized: state.bool,
  nodes: state.record({
    nextId: nodeId,
    nodes: state.listUpTo(
      state.record<SavedNode>({
        id: nodeId,
        key: text,
        lookups: number,
        places: state.listUpTo(state.record({ parent: number, name: text }), 8),
      }),
      MANY,
    ),
  }),
  handles: state.record({
    nextId: handle,
    files: state.listUpTo(state.record({ id: handle, node: number, flags: number }), MANY),
    directories: state.listUpTo(state.record({ id: handle, node: number }), MANY),
  }),
});

export type SavedSession = state.StateOf<typeof savedField>;

/** What a saved session is, or null for something else. */
export function savedSession(value: unknown): SavedSession | null {
  try {
    return savedField(value, 'share');
  } catch {
    return null;
  }
}

export class Session {
  readonly nodes: NodeTable;
  readonly handles = new HandleTable();
  isInitialized = false;
  /** Devices of the host's in the order of their appearance: the root's is 0. */
  private readonly devices = new Map<bigint, number>();

  constructor(
    readonly policy: SharePolicy,
    root: HeldFd,
    rootStats: Stats,
    rootKey: string,
  ) {
    this.nodes = new NodeTable(root, rootKey);
    this.devices.set(rootStats.dev, 0);
  }

  /** Attributes as the guest sees them: inode numbers of other mounts are set apart. */
  attributes(stats: Stats): Attributes {
    let device = this.devices.get(stats.dev);
    if (device === undefined) {
      device = this.devices.size;
      if (device < DEVICES_MAX) this.devices.set(stats.dev, device);
    }
    const ino = BigInt.asUintN(64, stats.ino + (BigInt(device) << DEVICE_SHIFT));
    return Object.assign(Object.create(stats) as Stats, { ino });
  }

  entry({ node, stats }: { readonly node: ShareNode; readonly stats: Stats }): Uint8Array {
    return entryOut(node.id, this.attributes(stats));
  }

  /** Calls `act` with the descriptor of an open file, opening it again after a restore. */
  async useFile<T>(file: OpenFile, act: (fd: number) => Promise<T>): Promise<T> {
    if (file.held === null) {
      const held = await this.openNode(file.node, file.flags);
      if (file.held === null) this.handles.opened(file, held);
      else held.close();
    }
    const held = (file.held as HeldFd).take();
    try {
      return await act(held.fd);
    } finally {
      held.release();
    }
  }

  /** Opens a file of data for reading or writing; never a device, a pipe or a link. */
  async openNode(node: ShareNode, flags: number): Promise<HeldFd> {
    if (node.isDirectory) throw new FuseError(ERRNO.EISDIR);
    if (node.type !== host.S_IFREG) throw new FuseError(ERRNO.EOPNOTSUPP);
    const held = await this.nodes.use(node, async ({ path }) => {
      return new HeldFd(await host.open(path, flags));
    });
    const changes = (flags & (host.O_ACCMODE | host.O_TRUNC)) !== host.O_RDONLY;
    if (!changes || !this.policy.ownsAll) return held;
    try {
      await dropSetIds(held.fd);
    } catch (error) {
      held.close();
      throw error;
    }
    return held;
  }

  close(): void {
    this.handles.close();
    this.nodes.close();
  }

  save(): SavedSession {
    return {
      initialized: this.isInitialized,
      nodes: this.nodes.save(),
      handles: this.handles.save(),
    };
  }

  /** Throws what `checkedName` does for names that are none: a saved VM may be made to harm. */
  load({ initialized, nodes, handles }: SavedSession): void {
    this.isInitialized = initialized;
    this.nodes.load(nodes.nextId, nodes.nodes);
    this.handles.load(handles, {
      nodeOf: (id) => this.nodes.find(id),
      readOnly: this.policy.readOnly,
    });
  }
}

/** Root's writes do not end these bits, as those of others do. */
async function dropSetIds(fd: number): Promise<void> {
  const mode = Number((await host.fstat(fd)).mode) & 0o7777;
  const allowed = permissions(mode, false);
  if (allowed !== mode) await host.fchmod(fd, allowed);
}

const DEVICES_MAX = 65_535;
const DEVICE_SHIFT = 48n;
