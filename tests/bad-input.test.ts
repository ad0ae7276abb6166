// What is wrong with the user's files and options is one line and a status; what the guest does is
// never an exception of the host.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cloister } from './lib/command.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-bad-'));
  const put = (name: string, content: string | Uint8Array) =>
    writeFileSync(join(folder, name), content);
  put('flat', Uint8Array.of(0xf4));
  put('text', 'this is no kernel\n'.repeat(100));
  put('cut', bzImageHead());
  put('elf', Buffer.from('\x7fELF\x02\x01\x01', 'latin1'));
  put('large', new Uint8Array(3 * 2 ** 20));
  put('syntax.json', '{"memory": ');
  put('field.json', '{"kernel": "flat", "memroy": "1G"}');
  put('value.json', '{"kernel": "flat", "memory": "much"}');
  put('wants.mjs', plugin("requires: ['cpu.quantum'], setup() {}"));
  put('fails.mjs', plugin("requires: [], setup() { throw new Error('no luck'); }"));
  put('old.mjs', plugin('requires: [], api: 0, setup() {}'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const plugin = (rest: string) =>
  `export default { name: 'p', version: '1.0.0', api: 1, provides: [], ${rest} };\n`;

/** The first sector of a Linux image whose header says that there is more. */
function bzImageHead(): Uint8Array {
  const bytes = new Uint8Array(0x250);
  const view = new DataView(bytes.buffer);
  bytes[0x1f1] = 4;
  view.setUint16(0x1fe, 0xaa55, true);
  bytes.set(Buffer.from('HdrS'), 0x202);
  view.setUint16(0x206, 0x20f, true);
  bytes[0x211] = 1;
  return bytes;
}

const run = (line: string) => cloister(['run', ...line.split(' ')], { cwd: folder });

test.each([
  ['--kernel none', 'invalid-file: kernel .*no such file'],
  ['--kernel text', 'invalid-file: kernel: no known kernel format.*'],
  ['--kernel cut', 'invalid-file: .*'],
  ['--kernel elf', 'invalid-file: .*'],
  ['--kernel text --entry 64', 'invalid-file: .*'],
  ['--kernel text --entry pvh', 'invalid-file: .*'],
  ['--kernel text --entry multiboot', 'invalid-file: .*'],
  ['--kernel flat --entry flat --memory 0', 'invalid-argument: --memory: .*'],
  ['--kernel flat --entry flat --memory 100000G', 'invalid-config: memory: .*'],
  ['--kernel flat --entry flat --memory 1000G', '[a-z-]+: .*'],
  ['--kernel flat --entry flat --plugin no-such-plugin', 'unknown-plugin: .*no-such-plugin.*'],
  ['--kernel flat --entry flat --plugin ./wants.mjs', 'missing-capability: p: .*cpu.quantum.*'],
  ['--kernel flat --entry flat --plugin ./fails.mjs', 'plugin-failed: p: .*no luck.*'],
  ['--kernel flat --entry flat --plugin ./old.mjs', 'version-mismatch: p: .*'],
  ['--config none.json', 'invalid-file: configuration .*no such file'],
  ['--config syntax.json', 'invalid-config: .*not JSON.*'],
  ['--config field.json', 'invalid-config: .*unknown field "memroy".*'],
  ['--config value.json', 'invalid-config: memory: .*'],
  ['--kernel flat --entry flat --restore flat', 'invalid-file: saved state .*'],
  ['--kernel flat --entry flat --replay flat', 'invalid-file: recording.*'],
  ['--kernel flat --entry flat --exits no/such/folder', 'invalid-file: exit log .*'],
  ['--kernel flat --entry uefi', 'invalid-argument: .*'],
  // Where KVM can be used, the file is what is wrong.
  ['--backend kvm --kernel flat', '(?:unavailable|invalid-file): .*'],
])('cloister run %s', async (line, message) => {
  const { status, stdout, stderr } = await run(line);
  expect(stderr).toMatch(new RegExp(`^cloister: ${message}\n$`));
  expect(stdout.length).toBe(0);
  expect(status).toBe(2);
});

test('a stack comes with --debug', async () => {
  const { stderr } = await run('--kernel none --debug');
  expect(stderr).toMatch(/\n +at /);
});

/** `out 0xf4, al` */
const EXIT_WITH_AL = [0xe6, 0xf4];

describe('whatever the guest does is reported', () => {
  test.each([
    ['undefined opcode without a handler', [0x0f, 0x0b], 3],
    ['jump to where nothing is', [0xb8, 0x00, 0x00, 0x00, 0xf0, 0xff, 0xe0], 3],
    ['unknown MSR', [0xb9, 0x34, 0x12, 0x00, 0xc0, 0x0f, 0x32], 3],
    [
      'unknown port, which reads as all ones',
      [0x66, 0xba, 0x34, 0x12, 0xee, 0xec, ...EXIT_WITH_AL],
      255,
    ],
    [
      'write and read where nothing is',
      [0xbb, 0x00, 0x00, 0x00, 0xf0, 0x89, 0x03, 0x8a, 0x03, ...EXIT_WITH_AL],
      255,
    ],
    ['value for the debug-exit port', [0xb0, 0x10, ...EXIT_WITH_AL], 33],
  ] as const)('%s', async (_what, code, expected) => {
    const path = join(folder, 'guest');
    writeFileSync(path, Uint8Array.from(code));
    const { status, stderr } = await run('--kernel guest --flat-mode protected --timeout 60');
    expect(stderr).toMatch(/^cloister: summary$/m);
    expect(stderr).not.toMatch(/internal|Error/);
    expect(status).toBe(expected);
  });
});
