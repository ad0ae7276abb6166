// Test projects. "unit": beside the code, fast, against the sources. "integration": the root
// folder tests/, one process at a time, long limits, against the build (no aliases).
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

export default defineConfig({
  test: {
    // By default one processor is kept free.
    maxWorkers: '100%',
    projects: [
      {
        resolve: { alias },
        test: {
          name: 'unit',
          include: ['packages/*/src/**/*.test.ts', 'tools/**/*.test.ts', 'examples/**/*.test.ts'],
          exclude: ['**/node_modules/**', '**/dist/**'],
          environment: 'node',
          // One module graph a worker: the processor's core is generated once, not once a file.
          isolate: false,
          // A test may be starved on a shared machine; none is slow.
          testTimeout: 60_000,
        },
      },
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
