/**
 * The FUSE protocol as virtio-fs carries it: opcodes, flags, and the structures of requests and
 * replies. All numbers are little-endian.
 *
 * Source: Linux include/uapi/linux/fuse.h, protocol 7.38.
 */

export const FUSE_MAJOR = 7;
/** The newest minor version that is spoken here, and the oldest: Linux's first with virtio-fs. */
export const FUSE_MINOR = 38;
export const FUSE_MINOR_MIN = 31;

/** Opcodes, in the header's order. */
export const OP = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  READDIRPLUS: 44,
  RENAME2: 45,
} as const;

/** Flags of INIT. */
export const ASYNC_READ = 1 << 0;
export const ATOMIC_O_TRUNC = 1 << 3;
export const BIG_WRITES = 1 << 5;
export const AUTO_INVAL_DATA = 1 << 12;
export const DO_READDIRPLUS = 1 << 13;
export const READDIRPLUS_AUTO = 1 << 14;
export const PARALLEL_DIROPS = 1 << 18;
export const MAX_PAGES = 1 << 22;

/** Bits of `fuse_setattr_in.valid`. */
export const FATTR = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
} as const;

export const GETATTR_FH = 1;
export const FSYNC_FDATASYNC = 1;

/** Errors as the guest numbers them: Linux on x86-64. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EBADF: 9,
  EEXIST: 17,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EFBIG: 27,
  EROFS: 30,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  EPROTO: 71,
  EOPNOTSUPP: 95,
  ESTALE: 116,
} as const;

/** An error that is the answer to a request. */
export class FuseError extends Error {
  constructor(readonly errno: number) {
    super(`errno ${errno}`);
  }
}

export const IN_HEADER = 40;
export const OUT_HEADER = 16;

/** Opcodes that have no reply. */
export const SILENT: ReadonlySet<number> = new Set([
  OP.FORGET,
  OP.BATCH_FORGET,
  OP.INTERRUPT,
  OP.NOTIFY_REPLY,
]);

const NAME_MAX = 255;
const TARGET_MAX = 4095;
const DOT = 0x2e;
const SLASH = 0x2f;

/** A request: its header, and its body read by offset. A body that is too short is EINVAL. */
export class FuseRequest {
  readonly opcode: number;
  readonly unique: bigint;
  readonly node: number;
  readonly uid: number;
  readonly gid: number;
  readonly body: Uint8Array;
  private readonly view: DataView;

  /** `bytes` holds at least a header; `room` is how long the reply may be. */
  constructor(
    bytes: Uint8Array,
    readonly room: number,
  ) {
    const header = new DataView(bytes.buffer, bytes.byteOffset, IN_HEADER);
    this.opcode = header.getUint32(4, true);
    this.unique = header.getBigUint64(8, true);
    this.node = Number(header.getBigUint64(16, true));
    this.uid = header.getUint32(24, true);
    this.gid = header.getUint32(28, true);
    const length = Math.max(IN_HEADER, Math.min(header.getUint32(0, true), bytes.length));
    this.body = bytes.subarray(IN_HEADER, length);
    this.view = new DataView(this.body.buffer, this.body.byteOffset, this.body.length);
  }

  u32(at: number): number {
    if (at + 4 > this.body.length) throw new FuseError(ERRNO.EINVAL);
    return this.view.getUint32(at, true);
  }

  /** A 64-bit number; above 2^53 one that is near. */
  u64(at: number): number {
    if (at + 8 > this.body.length) throw new FuseError(ERRNO.EINVAL);
    return Number(this.view.getBigUint64(at, true));
  }

  i64(at: number): bigint {
    if (at + 8 > this.body.length) throw new FuseError(ERRNO.EINVAL);
    return this.view.getBigInt64(at, true);
  }

  /** Texts, each up to its 0, from `at` on. */
  texts(at: number, count: number): Uint8Array[] {
    const found: Uint8Array[] = [];
    let from = at;
    while (found.length < count) {
      const end = from > this.body.length ? -1 : this.body.indexOf(0, from);
      if (end < 0) throw new FuseError(ERRNO.EINVAL);
      found.push(this.body.slice(from, end));
      from = end + 1;
    }
    return found;
  }

  /** The name of an entry of a directory at `at`. */
  name(at: number): Uint8Array {
    return checkedName(this.texts(at, 1)[0]!);
  }
}

/** Refuses what is not one component of a path: the only names that the host ever gets. */
export function checkedName(name: Uint8Array): Uint8Array {
  if (name.length > NAME_MAX) throw new FuseError(ERRNO.ENAMETOOLONG);
  const isDots = name.length <= 2 && name.every((byte) => byte === DOT);
  // None at all is "no dots" too.
  if (isDots || name.includes(SLASH) || name.includes(0)) throw new FuseError(ERRNO.EINVAL);
  return name;
}

/** Refuses a symbolic link's target that Linux would not take. */
export function checkedTarget(target: Uint8Array): Uint8Array {
  if (target.length === 0) throw new FuseError(ERRNO.ENOENT);
  if (target.length > TARGET_MAX) throw new FuseError(ERRNO.ENAMETOOLONG);
  return target;
}

/** A reply: header and body. `error` is 0 or an errno. */
export function reply(unique: bigint, error: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(OUT_HEADER + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setInt32(4, -error, true);
  view.setBigUint64(8, unique, true);
  bytes.set(body, OUT_HEADER);
  return bytes;
}

/** What fstat(2) says, with times in nanoseconds. */
export interface Attributes {
  readonly ino: bigint;
  readonly size: bigint;
  readonly blocks: bigint;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly mode: bigint;
  readonly nlink: bigint;
  readonly uid: bigint;
  readonly gid: bigint;
  readonly rdev: bigint;
  readonly blksize: bigint;
}

const ATTR_SIZE = 88;
export const ENTRY_SIZE = 40 + ATTR_SIZE;
const SECOND = 1_000_000_000n;
/** Seconds for which the guest may keep names and attributes. */
const VALID = 1n;

/** fuse_attr at `at`. */
function putAttr(view: DataView, at: number, a: Attributes): void {
  view.setBigUint64(at, a.ino, true);
  view.setBigUint64(at + 8, a.size, true);
  view.setBigUint64(at + 16, a.blocks, true);
  [a.atimeNs, a.mtimeNs, a.ctimeNs].forEach((time, index) => {
    const nanoseconds = ((time % SECOND) + SECOND) % SECOND;
    view.setBigInt64(at + 24 + 8 * index, (time - nanoseconds) / SECOND, true);
    view.setUint32(at + 48 + 4 * index, Number(nanoseconds), true);
  });
  [a.mode, a.nlink, a.uid, a.gid, a.rdev, a.blksize].forEach((value, index) => {
    view.setUint32(at + 60 + 4 * index, Number(BigInt.asUintN(32, value)), true);
  });
}

/** fuse_entry_out. */
export function entryOut(node: number, attributes: Attributes): Uint8Array {
  const bytes = new Uint8Array(ENTRY_SIZE);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(node), true);
  view.setBigUint64(16, VALID, true);
  view.setBigUint64(24, VALID, true);
  putAttr(view, 40, attributes);
  return bytes;
}

/** fuse_attr_out. */
export function attrOut(attributes: Attributes): Uint8Array {
  const bytes = new Uint8Array(16 + ATTR_SIZE);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, VALID, true);
  putAttr(view, 16, attributes);
  return bytes;
}

/** fuse_open_out. */
export function openOut(handle: number): Uint8Array {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(handle), true);
  return bytes;
}

/** fuse_write_out. */
export function writeOut(size: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint32(0, size, true);
  return bytes;
}

/** fuse_dirent, padded; `next` is the offset of the entry behind it. */
export function dirent(ino: bigint, next: number, type: number, name: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(24 + Math.ceil(name.length / 8) * 8);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, ino, true);
  view.setBigUint64(8, BigInt(next), true);
  view.setUint32(16, name.length, true);
  view.setUint32(20, type, true);
  bytes.set(name, 24);
  return bytes;
}

export interface FileSystemNumbers {
  readonly blocks: bigint;
  readonly bfree: bigint;
  readonly bavail: bigint;
  readonly files: bigint;
  readonly ffree: bigint;
  readonly bsize: bigint;
}

/** fuse_statfs_out. */
export function statfsOut(s: FileSystemNumbers): Uint8Array {
  const bytes = new Uint8Array(80);
  const view = new DataView(bytes.buffer);
  [s.blocks, s.bfree, s.bavail, s.files, s.ffree].forEach((value, index) => {
    view.setBigUint64(8 * index, BigInt.asUintN(64, value), true);
  });
  const block = Number(BigInt.asUintN(32, s.bsize));
  view.setUint32(40, block, true);
  view.setUint32(44, NAME_MAX, true);
  view.setUint32(48, block, true);
  return bytes;
}

/** Longest data of a READ or WRITE: as many pages as MAX_PAGES says. */
export const DATA_MAX = 1 << 20;
const PAGE = 4096;
const READAHEAD_MAX = DATA_MAX;

const WANTED =
  ASYNC_READ |
  ATOMIC_O_TRUNC |
  BIG_WRITES |
  AUTO_INVAL_DATA |
  DO_READDIRPLUS |
  READDIRPLUS_AUTO |
  PARALLEL_DIROPS |
  MAX_PAGES;

/** Answers INIT: fuse_init_out. EPROTO for a version that is too old. */
export function initOut(request: FuseRequest): Uint8Array {
  const [major, minor] = [request.u32(0), request.u32(4)];
  const isNewer = major > FUSE_MAJOR;
  if (major < FUSE_MAJOR || (!isNewer && minor < FUSE_MINOR_MIN)) {
    throw new FuseError(ERRNO.EPROTO);
  }
  const bytes = new Uint8Array(64);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, FUSE_MAJOR, true);
  view.setUint32(4, isNewer ? FUSE_MINOR : Math.min(minor, FUSE_MINOR), true);
  // A newer kernel asks again, with this version.
  if (isNewer) return bytes;
  view.setUint32(8, Math.min(request.u32(8), READAHEAD_MAX), true);
  view.setUint32(12, request.u32(12) & WANTED, true);
  view.setUint16(16, 64, true); // max_background
  view.setUint16(18, 48, true); // congestion_threshold
  view.setUint32(20, DATA_MAX, true); // max_write
  view.setUint32(24, 1, true); // time_gran, ns
  view.setUint16(28, DATA_MAX / PAGE, true); // max_pages
  return bytes;
}
