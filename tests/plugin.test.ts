// The example plugin, loaded by the command as a user would.
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { cloister } from './lib/command.js';

const root = fileURLToPath(new URL('..', import.meta.url));

test('cloister run --plugin loads examples/counter-plugin', async () => {
  const guest = ['--kernel', 'examples/guest-hello/guest-hello.bin', '--entry', 'flat'];
  const plugin = ['--plugin', './examples/counter-plugin/counter.js'];
  const { status, stdout, stderr } = await cloister(['run', ...guest, ...plugin], { cwd: root });
  expect(stdout.toString('latin1')).toMatch(/Switching off\.\r\n$/);
  expect(stderr).toMatch(/^ {2}counter +0$/m);
  expect(status).toBe(0);
});
