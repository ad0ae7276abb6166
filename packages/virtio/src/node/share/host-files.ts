/** The host's file operations as promises, on paths of bytes and bare file descriptors. */
import * as fs from 'node:fs';
import { promisify } from 'node:util';

export const open = promisify(fs.open);
export const close = promisify(fs.close);
export const read = promisify(fs.read);
export const write = promisify(fs.write);
export const fsync = promisify(fs.fsync);
export const fdatasync = promisify(fs.fdatasync);
export const ftruncate = promisify(fs.ftruncate);
export const fchmod = promisify(fs.fchmod);
export const chmod = promisify(fs.chmod);
export const chown = promisify(fs.chown);
export const lchown = promisify(fs.lchown);
export const utimes = promisify(fs.utimes);
export const lutimes = promisify(fs.lutimes);
export const mkdir = promisify(fs.mkdir);
export const rmdir = promisify(fs.rmdir);
export const unlink = promisify(fs.unlink);
export const rename = promisify(fs.rename);
export const link = promisify(fs.link);
export const symlink = promisify(fs.symlink);
export const access = promisify(fs.access);
const bigintFstat = promisify(fs.fstat);
const bigintLstat = promisify(fs.lstat);
const bigintStatfs = promisify(fs.statfs);
const bufferReadlink = promisify(fs.readlink);

export const fstat = (fd: number): Promise<fs.BigIntStats> => bigintFstat(fd, { bigint: true });
export const lstat = (path: Buffer): Promise<fs.BigIntStats> => {
  return bigintLstat(path, { bigint: true });
};
export const statfs = (path: string) => bigintStatfs(path, { bigint: true });
export const readlink = (path: Buffer): Promise<Buffer> => {
  return bufferReadlink(path, { encoding: 'buffer' });
};

/** Opens a directory whose entries' names are bytes. */
export function opendir(path: string): Promise<fs.Dir> {
  return new Promise((resolve, reject) => {
    // Node takes this encoding; its types name those of text only.
    const options = { encoding: 'buffer' as BufferEncoding };
    fs.opendir(path, options, (error, directory) => {
      if (error) reject(error);
      else resolve(directory);
    });
  });
}

/** Linux's O_PATH: names an object without opening it, be it a device or a symbolic link. */
export const O_PATH = 0o10000000;
export const { O_CREAT, O_DIRECTORY, O_DSYNC, O_EXCL, O_NOFOLLOW, O_RDONLY, O_SYNC, O_TRUNC } =
  fs.constants;
export const {
  O_ACCMODE = 3,
  O_RDWR,
  O_WRONLY,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} = fs.constants as typeof fs.constants & { O_ACCMODE?: number };
