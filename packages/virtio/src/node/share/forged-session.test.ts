// Saved sessions that are made to harm: no name, flag or number of theirs leads out of the share or
// changes one that is read-only; one handle that is lost leaves the others alone.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ERRNO, OP } from '../../fs/fuse.js';
import type { ShareServer } from '../../fs/share.js';
import { FuseClient, fuseBody, fuseRequest } from '../../testing/fuse-client.js';
import { hostShare } from './host-share.js';

type Saved = {
  nodes: {
    nextId: number;
    nodes: { id: number; key: string; places: { parent: number; name: string }[] }[];
  };
  handles: { nextId: number; files: { id: number; node: number; flags: number }[] };
};

let folder: string;
let share: string;
let server: ShareServer;
let guest: FuseClient;

/** Another process, with or without a right to write. */
function reopen(readOnly = false): void {
  void server?.close();
  server = hostShare({ directory: share, readOnly });
  guest = new FuseClient(server);
}

beforeEach(async () => {
  folder = fs.mkdtempSync(join(tmpdir(), 'share-'));
  share = join(folder, 'share');
  fs.mkdirSync(share);
  fs.writeFileSync(join(share, 'hello'), 'hello guest');
  fs.writeFileSync(join(folder, 'secret'), 'not for guests');
  if (process.platform !== 'linux') return;
  reopen();
  await guest.init();
});
afterEach(async () => {
  await server?.close();
  fs.rmSync(folder, { recursive: true });
});

const base64 = (name: string) => Buffer.from(name).toString('base64');
const saved = () => structuredClone(server.save()) as unknown as Saved;
const load = (state: Saved) => server.load(state as never);
const secret = () => fs.readFileSync(join(folder, 'secret'), 'utf8');

/** What a node is known by. */
function keyOf(path: string): string {
  const { dev, ino, mode } = fs.statSync(path, { bigint: true });
  return `${dev}:${ino}:${Number(mode) & fs.constants.S_IFMT}`;
}

describe.skipIf(process.platform !== 'linux')('a forged session', () => {
  it.each(['../secret', '..', '', 'a/b', '/etc/passwd', 'nul\0'])(
    'knows nothing after the name %j',
    async (name) => {
      const { node } = await guest.walk('hello');
      const { handle } = await guest.open(node);
      const state = saved();
      state.nodes.nodes[0]!.key = keyOf(join(folder, 'secret'));
      state.nodes.nodes[0]!.places[0]!.name = base64(name);
      reopen();
      load(state);
      expect((await guest.open(node)).error).toBe(ERRNO.EIO);
      expect(await guest.read(handle)).toBe(`errno ${ERRNO.EIO}`);
      expect(saved().nodes.nodes).toEqual([]);
    },
  );

  it('truncates and makes nothing by the flags of its files, read-only or not', async () => {
    const { node } = await guest.walk('hello');
    const { handle } = await guest.open(node, 2);
    const state = saved();
    const { O_TRUNC, O_CREAT, O_APPEND, O_RDWR } = fs.constants;
    for (const readOnly of [false, true]) {
      for (const flags of [O_TRUNC, O_RDWR | O_TRUNC, O_CREAT | O_APPEND, 2 ** 40 + O_TRUNC]) {
        state.handles.files[0]!.flags = flags;
        reopen(readOnly);
        load(state);
        expect(await guest.read(handle)).toBe('hello guest');
      }
    }
    expect(fs.readFileSync(join(share, 'hello'), 'utf8')).toBe('hello guest');
  });

  it('opens files for reading only where the share was writable and is no more', async () => {
    const { node } = await guest.walk('hello');
    const { handle } = await guest.open(node, 2);
    const state = saved();
    reopen(true);
    load(state);
    const flags = saved().handles.files.map((file) => file.flags);
    expect(flags).toEqual([0]);
    expect(await guest.read(handle)).toBe('hello guest');
  });

  it('loses a file whose node was forgotten, and no other', async () => {
    const { node } = await guest.walk('hello');
    const lost = await guest.open(node);
    await server.answer(fuseRequest(OP.FORGET, node, fuseBody(1n)), 0);
    const again = await guest.walk('hello');
    const kept = await guest.open(again.node);
    const state = saved();
    reopen();
    load(state);
    expect(await guest.read(kept.handle)).toBe('hello guest');
    expect(await guest.read(lost.handle)).toBe(`errno ${ERRNO.EBADF}`);
  });

  it('whatever is in it, leads nowhere else', async () => {
    const { node } = await guest.walk('hello');
    await guest.open(node, 2);
    const good = saved();
    const odd = fc.oneof(fc.integer(), fc.constant(2 ** 53 - 1), fc.double());
    const or = (weight: number, values: number[]) =>
      fc.oneof({ weight, arbitrary: fc.constantFrom(...values) }, { weight: 1, arbitrary: odd });
    const paths = ['share/hello', 'secret', '.', 'share'].map((at) => join(folder, at));
    const forged = fc.record({
      id: or(40, [2, 3, 4, 5]),
      parent: or(40, [1, 1, 3, 4]),
      name: fc.constantFrom('hello', '..', '../secret', '.', 'x/../../secret', 'secret', ''),
      key: fc.constantFrom(...paths.map(keyOf)),
      nextId: or(40, [2, 6, 100]),
      flags: or(20, [0, 1, 2, fs.constants.O_TRUNC]),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(forged, { minLength: 1, maxLength: 3 }), async (parts) => {
        const state = structuredClone(good);
        for (const { id, parent, name: at, key: known, nextId, flags } of parts) {
          const places = [{ parent, name: base64(at) }];
          state.nodes.nodes.push({ ...state.nodes.nodes[0]!, id, key: known, places });
          state.handles.files.push({ id, node: id, flags });
          state.nodes.nextId = nextId;
          state.handles.nextId = nextId;
        }
        reopen();
        load(state);
        for (const id of [1, 2, 3, 4]) {
          expect(await guest.read(BigInt(id))).not.toContain('not for');
          const { handle } = await guest.open(id, 1);
          await guest.ask(OP.WRITE, id, handle, 0n, 5, 0, 0n, 0, 0, Buffer.from('spoilt'));
        }
        expect(secret()).toBe('not for guests');
      }),
      { numRuns: process.env['CLOISTER_FULL'] === '1' ? 2000 : 150 },
    );
  });
});
