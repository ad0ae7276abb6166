/**
 * What a guest has open in a share: files by descriptor, directories by stream. Bounded.
 */
import { ERRNO, FuseError } from '../../fs/fuse.js';
import { DirectoryStream } from './directory-stream.js';
import type { HeldFd } from './held-fd.js';
import { O_ACCMODE, O_DSYNC, O_SYNC } from './host-files.js';
import type { ShareNode } from './node-table.js';

/** What a guest may ask of open(2) beside the access mode, and gets again after a restore. */
export const KEPT_FLAGS = O_SYNC | O_DSYNC;
const FILES_MAX = 2048;
const DIRECTORIES_MAX = 512;

export interface OpenFile {
  readonly id: number;
  readonly node: ShareNode;
  /** Of open(2), without those that act only at once. */
  readonly flags: number;
  /** Null after a restore, until it is used. */
  held: HeldFd | null;
}

export interface OpenDirectory {
  readonly id: number;
  readonly node: ShareNode;
  readonly stream: DirectoryStream;
}

/** What saved handles are taken over with. */
export interface LoadContext {
  nodeOf(id: number): ShareNode | undefined;
  /** The share is not written to, whatever it was when it was saved. */
  readonly readOnly: boolean;
}

export class HandleTable {
  private nextId = 1;
  private readonly files = new Map<number, OpenFile>();
  private readonly directories = new Map<number, OpenDirectory>();
  private isClosed = false;

  /** Refuses before anything is opened, when there is no room. */
  checkFiles(): void {
    if (this.files.size >= FILES_MAX) throw new FuseError(ERRNO.ENFILE);
  }

  addFile(node: ShareNode, flags: number, held: HeldFd): OpenFile {
    if (this.isClosed || this.files.size >= FILES_MAX) {
      held.close();
      throw new FuseError(ERRNO.ENFILE);
    }
    const file: OpenFile = { id: this.nextId++, node, flags, held: null };
    this.files.set(file.id, file);
    this.opened(file, held);
    return file;
  }

  /** A file has its descriptor (again); EBADF when it was closed meanwhile. */
  opened(file: OpenFile, held: HeldFd): void {
    if (this.files.get(file.id) !== file) {
      held.close();
      throw new FuseError(ERRNO.EBADF);
    }
    file.held = held;
    file.node.open.add(held);
  }

  addDirectory(node: ShareNode): OpenDirectory {
    if (this.isClosed || this.directories.size >= DIRECTORIES_MAX) {
      throw new FuseError(ERRNO.ENFILE);
    }
    const directory = { id: this.nextId++, node, stream: new DirectoryStream() };
    this.directories.set(directory.id, directory);
    return directory;
  }

  file(id: number): OpenFile {
    const file = this.files.get(id);
    if (file === undefined) throw new FuseError(ERRNO.EBADF);
    return file;
  }

  directory(id: number): OpenDirectory {
    const directory = this.directories.get(id);
    if (directory === undefined) throw new FuseError(ERRNO.EBADF);
    return directory;
  }

  closeFile(id: number): void {
    const file = this.file(id);
    this.files.delete(id);
    this.shut(file);
  }

  closeDirectory(id: number): void {
    this.directory(id).stream.close();
    this.directories.delete(id);
  }

  close(): void {
    this.isClosed = true;
    for (const id of [...this.files.keys()]) this.closeFile(id);
    for (const id of [...this.directories.keys()]) this.closeDirectory(id);
  }

  private shut({ node, held }: OpenFile): void {
    if (held === null) return;
    node.open.delete(held);
    held.close();
  }

  save() {
    return {
      nextId: this.nextId,
      files: [...this.files.values()].map(({ id, node, flags }) => ({ id, node: node.id, flags })),
      directories: [...this.directories.values()].map(({ id, node }) => ({ id, node: node.id })),
    };
  }

  /** Handles of nodes that are not known are left out. */
  load(
    { nextId, files, directories }: ReturnType<HandleTable['save']>,
    context: LoadContext,
  ): void {
    const { nodeOf, readOnly } = context;
    const kept = readOnly ? KEPT_FLAGS : KEPT_FLAGS | O_ACCMODE;
    this.nextId = nextId;
    for (const saved of files.slice(0, FILES_MAX)) {
      const { id } = saved;
      const node = nodeOf(saved.node);
      if (node === undefined || id >= nextId) continue;
      this.files.set(id, { id, node, flags: saved.flags & kept, held: null });
    }
    for (const saved of directories.slice(0, DIRECTORIES_MAX)) {
      const { id } = saved;
      const node = nodeOf(saved.node);
      if (node === undefined || id >= nextId) continue;
      this.directories.set(id, { id, node, stream: new DirectoryStream() });
    }
  }
}
