/**
 * A disk as the block device uses it: host storage behind promises.
 *
 * Offsets and lengths are bytes, multiples of 512, inside `size`. Operations may be under way at
 * the same time; the device's driver sees to their order. A rejected promise is an I/O error for
 * the guest.
 */
export interface Disk {
  /** Bytes, a multiple of 512. */
  readonly size: number;
  readonly readOnly: boolean;
  /** Fills `target`. */
  read(offset: number, target: Uint8Array): Promise<void>;
  write(offset: number, data: Uint8Array): Promise<void>;
  /**
   * As `read`, at once, into several buffers one after the other; throws where that rejects. With
   * `writeNow`, for disks whose operations take no longer than handing them to other threads: a VM
   * whose clock counts instructions waits for the host anyway.
   */
  readNow?(offset: number, targets: readonly Uint8Array[]): void;
  /** As `write`, at once. */
  writeNow?(offset: number, sources: readonly Uint8Array[]): void;
  writeZeroes(offset: number, length: number): Promise<void>;
  /** The contents are not needed any more; what they read as afterwards is open. */
  discard(offset: number, length: number): Promise<void>;
  /** Resolves when everything written before survives a power failure. */
  flush(): Promise<void>;
  close(): void | Promise<void>;
}

/** What a disk is opened for. */
export interface DiskUse {
  /** A recording brings all data: only the disk's size counts, and nothing is to change. */
  readonly replaying: boolean;
}

export const SECTOR = 512;

/** A disk in the host's memory: for tests, and for scratch disks. */
export function memoryDisk(contents: Uint8Array, options: { readOnly?: boolean } = {}): Disk {
  const size = contents.length - (contents.length % SECTOR);
  return {
    size,
    readOnly: options.readOnly ?? false,
    read(offset, target) {
      target.set(contents.subarray(offset, offset + target.length));
      return Promise.resolve();
    },
    write(offset, data) {
      contents.set(data, offset);
      return Promise.resolve();
    },
    readNow(offset, targets) {
      let at = offset;
      for (const target of targets) {
        target.set(contents.subarray(at, at + target.length));
        at += target.length;
      }
    },
    writeNow(offset, sources) {
      let at = offset;
      for (const source of sources) {
        contents.set(source, at);
        at += source.length;
      }
    },
    writeZeroes(offset, length) {
      contents.fill(0, offset, offset + length);
      return Promise.resolve();
    },
    discard(offset, length) {
      contents.fill(0, offset, offset + length);
      return Promise.resolve();
    },
    flush: () => Promise.resolve(),
    close() {},
  };
}
