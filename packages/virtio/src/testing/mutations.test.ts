// The kit finds what it is for: with a check of the device's taken out, the test that is named
// after the clause fails. Each mutation changes one place of a source file; the package's kit is
// then built and run against the echo device.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KitRunner } from '@cloister/core/testing';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';

const SRC = dirname(dirname(fileURLToPath(import.meta.url)));

const FULL = process.env['CLOISTER_FULL'] === '1';

interface Mutation {
  /** Test that has to fail. */
  readonly fails: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const MUTATIONS: readonly Mutation[] = [
  {
    fails: '2.1.2 uses no buffer and notifies nobody before DRIVER_OK',
    file: 'device/controller.ts',
    from: 'return (this.statusBits & mask) === F.STATUS_DRIVER_OK && this.mayAccess;',
    to: 'return (this.statusBits & F.STATUS_NEEDS_RESET) === 0;',
  },
  {
    fails: '2.2.2 does not accept features that it did not offer',
    file: 'device/controller.ts',
    from: '!accepted.isSubsetOf(offered) || ',
    to: '',
  },
  {
    fails: '6.1 offers VERSION_1 and does not work without it',
    file: 'device/controller.ts',
    from: ' || !accepted.has(F.F_VERSION_1)',
    to: '',
  },
  {
    fails: '2.2.2 keeps to the features of FEATURES_OK',
    file: 'device/controller.ts',
    from: 'if ((this.statusBits & F.STATUS_FEATURES_OK) !== 0) return;',
    to: '',
  },
  {
    fails: '2.7.5.3.2 takes chained descriptors followed by an indirect one',
    file: 'queue/split-queue.ts',
    from: 'if ((flags & DESC_F_NEXT) !== 0) return this.fail(',
    to: 'if (taken > 0) return this.fail(',
  },
  {
    fails: '2.7.7.2 without EVENT_IDX notifies when flags is 0, whatever used_event says',
    file: 'queue/split-queue.ts',
    from: 'if (!ports.eventIdx) {\n      if (!this.fetch(layout.driver, 2)) return false;',
    to: 'if (false) {',
  },
  {
    fails: '2.7.8.2 sets len, and writes that many bytes, before it moves the used index',
    file: 'queue/split-queue.ts',
    from: 'const slot = position.used % layout.size;\n    if (!this.store(',
    to:
      'this.ports.dma.write(layout.device + 2, new Uint8Array(2)); ' +
      'const slot = position.used % layout.size; if (!this.store(',
  },
  {
    fails: '2.7.10.2 asks to be notified of the next buffer once it has none left',
    file: 'queue/split-queue.ts',
    from: 'if (!this.writeAvailEvent()) return null;',
    to: '',
  },
  {
    fails: '2.7.10.2 handles spurious notifications',
    file: 'device/controller.ts',
    from: 'if (this.running && this.slots[queue]?.enabled === true)',
    to: 'if (this.slots[queue]!.enabled)',
  },
  {
    fails: '2.7.13.3 reads each field of the rings once: what it checked is what it uses',
    file: 'queue/split-queue.ts',
    from: 'const flags = view.getUint16(12, true);',
    to: 'this.fetch(layout.desc + index * DESC_SIZE, 16); const flags = view.getUint16(12, true);',
  },
  {
    fails: '2.7.4.2 fails on a readable descriptor behind a writable one',
    file: 'queue/descriptor.ts',
    from: 'if (!write && this.writable.length > 0) return',
    to: 'if (false) return',
  },
  {
    fails: '2.7.5.2 fails on a chain of more than 2^32 bytes',
    file: 'queue/descriptor.ts',
    from: "if (this.bytes > CHAIN_BYTES_MAX) return 'a chain is longer than 2^32 bytes';",
    to: '',
  },
  {
    fails: '2.7.5 fails on a descriptor beside guest memory',
    file: 'queue/descriptor.ts',
    from: "gpa < 0 || !this.dma.covers(gpa, length, write ? 'write' : 'read')",
    to: 'gpa < 0',
  },
  {
    fails: '2.7.6 fails on a head outside the table',
    file: 'queue/split-queue.ts',
    from: "if (index >= layout.size) return this.fail('a descriptor lies outside its table');",
    to: '',
  },
  {
    fails: '2.7.5.3.1 fails on an indirect table longer than the queue',
    file: 'queue/ring.ts',
    from: "if (count > this.layout.size) return 'an indirect table is longer than the queue';",
    to: '',
  },
  {
    fails: '2.7.5.3.1 fails on an indirect descriptor that was not negotiated',
    file: 'queue/ring.ts',
    from: "if (!this.ports.indirect) return 'an indirect descriptor was not negotiated';",
    to: '',
  },
];

const ENTRY = `
export { virtioKit } from './testing/virtio-kit.js';
export { EchoModel } from './testing/echo-model.js';
`;

interface Kit {
  virtioKit(runner: KitRunner, subject: object): void;
  readonly EchoModel: new (queues: number, size: number) => object;
}

/** The kit and the device, built with one mutation or none. */
async function load(mutation: Mutation | null): Promise<Kit> {
  const { outputFiles } = await build({
    stdin: { contents: ENTRY, resolveDir: SRC, loader: 'ts' },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    logLevel: 'silent',
    plugins: [
      {
        name: 'mutate',
        setup({ onLoad, onResolve }) {
          onResolve({ filter: /^@cloister\/core(\/|$)/ }, ({ path }) => ({
            path: join(SRC, '../../core/src', path.slice('@cloister/core'.length), 'index.ts'),
          }));
          onResolve({ filter: /^\..*\.js$/ }, ({ path, resolveDir }) => {
            const file = join(resolveDir, path);
            return file.includes('node_modules')
              ? undefined
              : { path: file.replace(/\.js$/, '.ts') };
          });
          onLoad({ filter: /\.ts$/ }, ({ path }) => {
            const text = readFileSync(path, 'utf8');
            if (mutation === null || path !== join(SRC, mutation.file)) {
              return { contents: text, loader: 'ts' };
            }
            if (!text.includes(mutation.from)) throw new Error(`nothing to change in ${path}`);
            return { contents: text.replace(mutation.from, mutation.to), loader: 'ts' };
          });
        },
      },
    ],
  });
  const code = Buffer.from(outputFiles[0]!.contents).toString('base64');
  return import(/* @vite-ignore */ `data:text/javascript;base64,${code}`) as Promise<Kit>;
}

/** Names of the kit's tests that fail; runs only those called `only`, where it is given. */
async function failures({ virtioKit, EchoModel }: Kit, only?: string): Promise<string[]> {
  const tests: { name: string; body: () => void | Promise<void> }[] = [];
  virtioKit(
    { describe: (_name, body) => body(), it: (name, body) => void tests.push({ name, body }) },
    {
      name: 'echo',
      make: () => new EchoModel(2, 16),
      request: () => ({ queue: 1, out: [Uint8Array.of(1, 2, 3)], room: [5, 3] }),
    },
  );
  const failed: string[] = [];
  for (const { name, body } of tests) {
    if (only !== undefined && name !== only) continue;
    try {
      await body();
    } catch {
      failed.push(name);
    }
  }
  return failed;
}

describe('the virtio kit', () => {
  it('is content with the device as it is', async () => {
    expect(await failures(await load(null))).toEqual([]);
  });

  // A sample in the normal run, all in the full one.
  it.each(MUTATIONS.filter((_, index) => FULL || index % 4 === 0))(
    'notices when a device drops: $fails',
    async (mutation) => {
      expect(await failures(await load(mutation), mutation.fails)).toEqual([mutation.fails]);
    },
  );
});
