// Test projects. "unit": beside the code, fast, against the sources. "long": those of them that run
// whole guests, sweep tables or call other people's tools, so that the rest stays under a minute.
// "integration": the root folder tests/, one process at a time, long limits, against the build (no
// aliases).
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const src = (path: string) => fileURLToPath(new URL(`./packages/${path}`, import.meta.url));

const alias = [
  {
    find: /^@cloister\/(core|backend-emu|backend-kvm|virtio)$/,
    replacement: src('$1/src/index.ts'),
  },
  {
    find: /^@cloister\/(core|backend-emu|backend-kvm|sev|virtio)\/([a-z-]+)$/,
    replacement: src('$1/src/$2/index.ts'),
  },
  { find: /^@cloister\/cli$/, replacement: src('cli/src/main.ts') },
];

const LONG = [
  'examples/**/*.test.ts',
  'packages/backend-emu/src/{corpus,hostile-guest}.test.ts',
  'packages/backend-emu/src/extension/intercepts.test.ts',
  'packages/backend-emu/src/interp/beside-code.test.ts',
  'packages/backend-emu/src/isa/{fast-calls,interrupt-return,interrupt-return-run}.test.ts',
  'packages/backend-emu/src/jit/{control-flow,exact,pages}.test.ts',
  'packages/backend-emu/src/mmu/{fast-walk,judged-walk,paging}.test.ts',
  'packages/backend-emu/src/system/fuzz.test.ts',
  'packages/backend-kvm/src/{corpus,fuzz}.test.ts',
  'packages/sev/src/launch/*-guests.test.ts',
  'packages/sev/src/measure/explain.test.ts',
  'packages/virtio/src/node/share/host-share.test.ts',
  'packages/virtio/src/testing/{mutations,virtio-kit}.test.ts',
  'tools/{corpus,decoder-oracle,guest-image,native-oracle}/*.test.ts',
  'tools/docs.test.ts',
];
const NOT_OURS = ['**/node_modules/**', '**/dist/**'];

/** Tests beside the code, against the sources. */
const besideCode = (name: string, include: string[], exclude: string[]) => ({
  resolve: { alias },
  test: {
    name,
    include,
    exclude,
    environment: 'node' as const,
    setupFiles: [src('sev/src/testing/pure-ports.ts')],
    // One module graph a worker: the processor's core is generated once, not once a file.
    isolate: false,
    // A test may be starved on a shared machine.
    testTimeout: 60_000,
  },
});

export default defineConfig({
  test: {
    // By default one processor is kept free.
    maxWorkers: '100%',
    projects: [
      besideCode(
        'unit',
        ['packages/*/src/**/*.test.ts', 'tools/**/*.test.ts'],
        [...NOT_OURS, ...LONG],
      ),
      besideCode('long', LONG, NOT_OURS),
      {
        test: {
          name: 'integration',
          include: ['tests/**/*.test.ts'],
          environment: 'node',
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
