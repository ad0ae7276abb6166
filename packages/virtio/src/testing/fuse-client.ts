/**
 * A guest's FUSE requests for tests of a share: made as Linux makes them, replies taken apart.
 *
 * Source: Linux include/uapi/linux/fuse.h.
 */
import { FUSE_MAJOR, FUSE_MINOR, OP } from '../fs/fuse.js';
import type { ShareServer } from '../fs/share.js';

const text = new TextEncoder();

/** Numbers of 4 bytes, or of 8 as bigint, and texts that end with 0, one behind the other. */
export function fuseBody(...parts: readonly (number | bigint | string | Uint8Array)[]): Uint8Array {
  return Uint8Array.from(
    parts.flatMap((part) => {
      if (part instanceof Uint8Array) return [...part];
      if (typeof part === 'string') return [...text.encode(part), 0];
      const bytes = new Uint8Array(typeof part === 'number' ? 4 : 8);
      const view = new DataView(bytes.buffer);
      if (typeof part === 'number') view.setUint32(0, part >>> 0, true);
      else view.setBigUint64(0, BigInt.asUintN(64, part), true);
      return [...bytes];
    }),
  );
}

export function fuseRequest(
  opcode: number,
  node: number | bigint,
  body: Uint8Array,
  unique = 1,
): Uint8Array {
  const header = fuseBody(40 + body.length, opcode, BigInt(unique), BigInt(node), 1000, 1000, 1, 0);
  return Uint8Array.from([...header, ...body]);
}

/** The INIT of a Linux of 2024. */
export const INIT_BODY = fuseBody(
  FUSE_MAJOR,
  FUSE_MINOR + 4,
  1 << 20,
  0x73fffffb,
  ...Array(12).fill(0),
);

export interface FuseReply {
  readonly error: number;
  readonly body: Uint8Array;
  readonly view: DataView;
}

export class FuseClient {
  private unique = 0;

  constructor(private readonly share: ShareServer) {}

  async ask(
    opcode: number,
    node: number | bigint,
    ...parts: readonly (number | bigint | string | Uint8Array)[]
  ): Promise<FuseReply> {
    const request = fuseRequest(opcode, node, fuseBody(...parts), ++this.unique);
    const bytes = await this.share.answer(request, 1 << 20);
    if (bytes.length < 16) throw new Error(`no reply to ${opcode}`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (view.getUint32(0, true) !== bytes.length) throw new Error('the length is wrong');
    if (Number(view.getBigUint64(8, true)) !== this.unique) throw new Error('not my reply');
    const body = bytes.subarray(16);
    const error = Math.abs(view.getInt32(4, true));
    return { error, body, view: new DataView(body.buffer, body.byteOffset, body.length) };
  }

  init(): Promise<FuseReply> {
    return this.ask(OP.INIT, 0, INIT_BODY);
  }

  /** The node of a path from the root, component by component; the error where there is none. */
  async walk(path: string): Promise<{ readonly node: number; readonly error: number }> {
    let node = 1;
    for (const name of path.split('/').filter((part) => part !== '')) {
      const { error, view } = await this.ask(OP.LOOKUP, node, name);
      if (error !== 0) return { node: 0, error };
      node = Number(view.getBigUint64(0, true));
    }
    return { node, error: 0 };
  }

  /** Opens a node: its handle. */
  async open(
    node: number,
    flags = 0,
  ): Promise<{ readonly handle: bigint; readonly error: number }> {
    const { error, view } = await this.ask(OP.OPEN, node, flags, 0);
    return { error, handle: error === 0 ? view.getBigUint64(0, true) : 0n };
  }

  async read(handle: bigint, offset = 0, size = 65_536): Promise<string> {
    const { error, body } = await this.ask(OP.READ, 1, handle, BigInt(offset), size, 0, 0n, 0, 0);
    return error === 0 ? new TextDecoder().decode(body) : `errno ${error}`;
  }

  /** Names of a directory, by pieces of `size` bytes. */
  async list(node: number, size = 4096): Promise<string[]> {
    const { view } = await this.ask(OP.OPENDIR, node, 0, 0);
    const handle = view.getBigUint64(0, true);
    const names: string[] = [];
    for (let offset = 0n; ; ) {
      const reply = await this.ask(OP.READDIR, node, handle, offset, size, 0, 0n, 0, 0);
      if (reply.body.length === 0) break;
      for (let at = 0; at < reply.body.length; ) {
        const length = reply.view.getUint32(at + 16, true);
        offset = reply.view.getBigUint64(at + 8, true);
        names.push(new TextDecoder().decode(reply.body.subarray(at + 24, at + 24 + length)));
        at += 24 + Math.ceil(length / 8) * 8;
      }
    }
    await this.ask(OP.RELEASEDIR, node, handle, 0, 0, 0n);
    return names;
  }
}
