/**
 * What the guest knows of a share: nodes, each an object of the host's file system by device and
 * inode number, found again by name within a directory.
 *
 * Confinement: the host is never given a path of more than one component below a directory that is
 * held by a descriptor, and never follows a symbolic link. A node is opened with O_PATH and
 * O_NOFOLLOW, which pins the object whatever happens to its name, and is compared with what the
 * guest had looked up: another object under the same name is ESTALE. Only `..` would lead out of a
 * directory, and no name is `..`. All else acts on the pinned object, as /proc/self/fd/N.
 *
 * Nodes are bounded, and so are the descriptors that are kept for them.
 */
import { closeSync } from 'node:fs';
import { checkedName, ERRNO, FuseError } from '../../fs/fuse.js';
import { HeldFd, within } from './held-fd.js';
import * as host from './host-files.js';

export const ROOT_ID = 1;
const NODES_MAX = 262_144;
const FDS_MAX = 1024;
/** Names by which one object is found again, the newest first. */
const PLACES_MAX = 8;
/** Directories to be opened on the way to one whose descriptor is not kept. */
const DEPTH_MAX = 4096;

type Stats = Awaited<ReturnType<typeof host.fstat>>;

export interface Place {
  readonly parent: ShareNode;
  readonly name: Uint8Array;
}

/** What an object is known by: two at different times may share it, two at one time never do. */
export function keyOf(stats: Stats): string {
  return `${stats.dev}:${stats.ino}:${Number(stats.mode) & host.S_IFMT}`;
}

export class ShareNode {
  /** LOOKUPs that the guest has not forgotten. */
  lookups = 0;
  /** Places of other nodes in this one. */
  children = 0;
  places: Place[] = [];
  held: HeldFd | null = null;
  /** Descriptors of open files: what is left of one without a name. */
  readonly open = new Set<HeldFd>();

  constructor(
    readonly id: number,
    readonly key: string,
  ) {}

  /** S_IFMT bits. */
  get type(): number {
    return Number(this.key.slice(this.key.lastIndexOf(':') + 1));
  }

  get isDirectory(): boolean {
    return this.type === host.S_IFDIR;
  }
}

/** A node as it is saved; bytes are base64. */
export type SavedNode = {
  readonly id: number;
  readonly key: string;
  readonly lookups: number;
  readonly places: readonly { readonly parent: number; readonly name: string }[];
};

export class NodeTable {
  readonly root: ShareNode;
  private nextId = ROOT_ID + 1;
  private readonly byId = new Map<number, ShareNode>();
  private readonly byKey = new Map<string, ShareNode>();
  /** Nodes whose descriptor is kept, least recently used first. */
  private readonly kept = new Set<ShareNode>();
  private isClosed = false;

  /** `root` stays the caller's. */
  constructor(root: HeldFd, key: string) {
    this.root = new ShareNode(ROOT_ID, key);
    this.root.lookups = 1;
    this.root.held = root;
    this.byId.set(ROOT_ID, this.root);
    this.byKey.set(key, this.root);
  }

  find(id: number): ShareNode | undefined {
    return this.byId.get(id);
  }

  node(id: number): ShareNode {
    const node = this.find(id);
    if (node === undefined) throw new FuseError(ERRNO.ESTALE);
    return node;
  }

  directory(id: number): ShareNode {
    const node = this.node(id);
    if (!node.isDirectory) throw new FuseError(ERRNO.ENOTDIR);
    return node;
  }

  /** The node of an object, if the guest knows it. */
  known(stats: Stats): ShareNode | undefined {
    return this.byKey.get(keyOf(stats));
  }

  // --- Descriptors

  /** Calls `act` with a descriptor that names the node's object. */
  async use<T>(node: ShareNode, act: (held: HeldFd) => Promise<T>): Promise<T> {
    const held = await this.hold(node);
    try {
      return await act(held);
    } finally {
      held.release();
      this.trim();
    }
  }

  /** Calls `act` for each place of a node, until it gives something; ESTALE when none does. */
  async atPlace<T>(node: ShareNode, act: (path: Buffer) => Promise<T | undefined>): Promise<T> {
    for (const { parent, name } of [...node.places]) {
      const found = await this.use(parent, async (directory) => {
        const path = within(directory, name);
        const stats = await host.lstat(path).catch(() => undefined);
        return stats !== undefined && keyOf(stats) === node.key ? act(path) : undefined;
      }).catch((error) => {
        if (isGone(error)) return undefined;
        throw error;
      });
      if (found !== undefined) return found;
    }
    throw new FuseError(ERRNO.ESTALE);
  }

  private async hold(node: ShareNode): Promise<HeldFd> {
    if (node.held !== null) return this.touch(node, node.held);
    return node.isDirectory ? this.holdDirectory(node) : this.holdFile(node);
  }

  private async holdDirectory(node: ShareNode): Promise<HeldFd> {
    const missing: Place[] = [];
    const nodes: ShareNode[] = [];
    let from = node;
    while (from.held === null) {
      const [place] = from.places;
      if (place === undefined || missing.length >= DEPTH_MAX) throw new FuseError(ERRNO.ESTALE);
      missing.push(place);
      nodes.push(from);
      from = place.parent;
    }
    let held = this.touch(from, from.held);
    for (let next = nodes.pop(); next !== undefined; next = nodes.pop()) {
      const { name } = missing.pop()!;
      const directory = held;
      try {
        const fd = await openObject(within(directory, name), next.key);
        held = this.install(next, fd);
      } finally {
        directory.release();
      }
    }
    return held;
  }

  private async holdFile(node: ShareNode): Promise<HeldFd> {
    for (const { parent, name } of [...node.places]) {
      try {
        const path = (directory: HeldFd) => within(directory, name);
        const fd = await this.use(parent, (each) => openObject(path(each), node.key));
        return this.install(node, fd);
      } catch (error) {
        if (!isGone(error)) throw error;
      }
    }
    // It has no name any more, but it is open.
    for (const file of node.open) {
      file.take();
      try {
        return this.install(node, await host.open(file.path, host.O_PATH));
      } finally {
        file.release();
      }
    }
    throw new FuseError(ERRNO.ESTALE);
  }

  /** Keeps a descriptor, unless somebody was quicker; one use of it is the caller's. */
  private install(node: ShareNode, fd: number): HeldFd {
    if (this.isClosed) {
      closeSync(fd);
      throw new FuseError(ERRNO.ESTALE);
    }
    if (node.held === null) node.held = new HeldFd(fd);
    else closeSync(fd);
    return this.touch(node, node.held);
  }

  private touch(node: ShareNode, held: HeldFd): HeldFd {
    if (node !== this.root) {
      this.kept.delete(node);
      this.kept.add(node);
    }
    return held.take();
  }

  private trim(): void {
    if (this.kept.size <= FDS_MAX) return;
    for (const node of this.kept) {
      if (node.held?.users !== 0) continue;
      this.drop(node);
      if (this.kept.size <= FDS_MAX) return;
    }
  }

  private drop(node: ShareNode): void {
    if (node === this.root) return;
    node.held?.close();
    node.held = null;
    this.kept.delete(node);
  }

  // --- Nodes

  /** Looks up `name` and counts it for the guest. */
  async lookup(parent: ShareNode, name: Uint8Array): Promise<{ node: ShareNode; stats: Stats }> {
    return this.use(parent, async (directory) => {
      const fd = await host.open(within(directory, name), host.O_PATH | host.O_NOFOLLOW);
      return this.adopt(parent, name, fd);
    });
  }

  /** The node of the object that `fd`, opened with O_PATH, names; counted. Takes the descriptor. */
  async adopt(
    parent: ShareNode,
    name: Uint8Array,
    fd: number,
  ): Promise<{ node: ShareNode; stats: Stats }> {
    let stats: Stats;
    try {
      stats = await host.fstat(fd);
      if (this.isClosed) throw new FuseError(ERRNO.ESTALE);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    const known = this.known(stats);
    if (known === undefined && this.byId.size >= NODES_MAX) {
      closeSync(fd);
      throw new FuseError(ERRNO.ENFILE);
    }
    const node = known ?? new ShareNode(this.nextId++, keyOf(stats));
    node.lookups++;
    this.byId.set(node.id, node);
    this.byKey.set(node.key, node);
    this.addPlace(node, { parent, name });
    this.install(node, fd).release();
    this.trim();
    return { node, stats };
  }

  addPlace(node: ShareNode, place: Place): void {
    if (node === this.root) return;
    place.parent.children++;
    this.removePlace(node, place);
    node.places.unshift(place);
    // A directory has one name; others would lead round in circles.
    const limit = node.isDirectory ? 1 : PLACES_MAX;
    for (const old of node.places.splice(limit)) this.left(old.parent);
  }

  removePlace(node: ShareNode, { parent, name }: Place): void {
    const index = node.places.findIndex((place) => {
      return place.parent === parent && Buffer.compare(place.name, name) === 0;
    });
    if (index < 0) return;
    node.places.splice(index, 1);
    this.left(parent);
  }

  private left(parent: ShareNode): void {
    parent.children--;
    this.dropUnknown(parent);
  }

  /** The guest forgets `count` lookups. */
  forget(id: number, count: number): void {
    const node = this.byId.get(id);
    if (node === undefined || node === this.root) return;
    node.lookups = Math.max(0, node.lookups - count);
    this.dropUnknown(node);
  }

  private dropUnknown(first: ShareNode): void {
    const unknown = [first];
    for (let node = unknown.pop(); node !== undefined; node = unknown.pop()) {
      const isKnown = node.lookups > 0 || node.children > 0 || node === this.root;
      if (isKnown || !this.byId.delete(node.id)) continue;
      if (this.byKey.get(node.key) === node) this.byKey.delete(node.key);
      this.drop(node);
      for (const { parent } of node.places.splice(0)) {
        parent.children--;
        unknown.push(parent);
      }
    }
  }

  close(): void {
    this.isClosed = true;
    for (const node of [...this.kept]) this.drop(node);
  }

  // --- Saving

  save(): { readonly nextId: number; readonly nodes: SavedNode[] } {
    const nodes = [...this.byId.values()].filter((node) => node !== this.root);
    return {
      nextId: this.nextId,
      nodes: nodes.map(({ id, key, lookups, places }) => ({
        id,
        key,
        lookups,
        places: places.map(({ parent, name }) => ({
          parent: parent.id,
          name: Buffer.from(name).toString('base64'),
        })),
      })),
    };
  }

  /**
   * Knows again what was saved: the objects are looked for when they are used. A name that is none
   * throws: those of a saved VM are no more to be trusted than the guest's.
   */
  load(nextId: number, nodes: readonly SavedNode[]): void {
    this.nextId = nextId;
    for (const { id, key, lookups } of nodes.slice(0, NODES_MAX)) {
      if (this.byId.has(id) || id >= nextId) continue;
      const node = new ShareNode(id, key);
      node.lookups = lookups;
      this.byId.set(id, node);
      this.byKey.set(key, node);
    }
    for (const { id, places } of nodes) {
      const node = this.byId.get(id);
      for (const { parent, name } of [...places].reverse()) {
        const directory = this.byId.get(parent);
        if (node === undefined || directory?.isDirectory !== true) continue;
        const bytes = checkedName(Buffer.from(name, 'base64'));
        this.addPlace(node, { parent: directory, name: bytes });
      }
    }
  }
}

/** Opens what is at `path` if it is the object of that key; ESTALE if it is another. */
async function openObject(path: Buffer, key: string): Promise<number> {
  const fd = await host.open(path, host.O_PATH | host.O_NOFOLLOW);
  try {
    if (keyOf(await host.fstat(fd)) === key) return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  closeSync(fd);
  throw new FuseError(ERRNO.ESTALE);
}

function isGone(error: unknown): boolean {
  if (error instanceof FuseError) return error.errno === ERRNO.ESTALE;
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR';
}
