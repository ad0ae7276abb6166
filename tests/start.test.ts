// `npm start` where no Debian kernel can be had: it says so, and boots the project's own guest.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const START = fileURLToPath(new URL('../tools/start.mjs', import.meta.url));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-start-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs it on a machine without apt, mirror and cached image. */
function start(args: readonly string[]) {
  // A PATH with nothing in it: no apt-get. Neither is CLOISTER_DEBIAN_MIRROR passed on.
  const env = { PATH: folder, HOME: folder, CLOISTER_CACHE: folder };
  return new Promise<{ status: number; stdout: string; stderr: string }>((resolve) => {
    const child = execFile(process.execPath, [START, ...args], { env }, (_, stdout, stderr) =>
      resolve({ status: child.exitCode ?? -1, stdout, stderr }),
    );
    child.stdin?.end();
  });
}

test('boots the guest of examples/guest-hello', async () => {
  const { status, stdout, stderr } = await start([]);
  expect(stderr).toMatch(/^start: no Debian kernel can be had \(.+\)$/m);
  expect(stderr).toMatch(/^start: remedy: .*CLOISTER_DEBIAN_MIRROR/m);
  expect(stdout).toMatch(/^Hello from a guest of the project's own\.\r$/m);
  expect(stdout).toMatch(/^memory: 256 MiB\r$/m);
  expect(stdout).toMatch(/Switching off\.\r\n$/);
  expect(stderr).toMatch(/^ {2}ended +the guest powered off \(acpi-s5\)$/m);
  expect(status).toBe(0);
});

test('passes further options on', async () => {
  const { status, stdout, stderr } = await start(['--memory', '32M', '--quiet']);
  expect(stdout).toMatch(/^memory: 32 MiB\r$/m);
  expect(stderr).not.toMatch(/ended/);
  expect(status).toBe(0);
});
