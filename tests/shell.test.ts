// A shell on the serial line, typed at through a terminal; what was recorded replays bit for bit.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { cloister, endAll, startOnTerminal } from './lib/command.js';
import { COMMAND_LINE, debian, type Guest, initrd, SHELL, skipped } from './lib/guests.js';

const guest = await debian();

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-shell-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(endAll);

const scriptAbsent = existsSync('/usr/bin/script') ? '' : ' (skipped: script is not installed)';
const why = skipped(guest) || scriptAbsent;
describe.skipIf(why !== '')(`busybox${why}`, () => {
  test('answers what is typed, and the recording replays', async () => {
    const { kernelPath } = guest as Guest;
    const files = ['--kernel', kernelPath, '--initrd', await initrd(guest as Guest, SHELL)];
    const line = ['run', '--memory', '256M', ...files, '--append', COMMAND_LINE];
    const path = (name: string) => join(folder, name);

    const live = startOnTerminal([...line, '--record', path('r'), '--exits', path('live')]);
    await live.until(/guest# /);
    live.type('echo $((6 * 7)) | sed s/^/answer=/\r');
    await live.until(/\nanswer=42\r*\n[\s\S]*guest# /);
    live.type('uname -m\r');
    await live.until(/\nx86_64\r*\n[\s\S]*guest# /);
    live.type('exit\r');
    const { status } = await live.finished;
    expect(status, live.text.slice(-2000)).toBe(0);

    const replay = await cloister([...line, '--replay', path('r'), '--exits', path('replay')]);
    expect(replay.status, replay.stderr).toBe(0);
    expect(replay.stdout.toString('latin1')).toMatch(/\nanswer=42\r?\n/);
    const [a, b] = [readFileSync(path('live')), readFileSync(path('replay'))];
    expect(Buffer.compare(a, b)).toBe(0);
  });

  test('runs what is piped into it, the same way each time', async () => {
    const { kernelPath } = guest as Guest;
    const files = ['--kernel', kernelPath, '--initrd', await initrd(guest as Guest, SHELL)];
    const line = ['run', ...files, '--append', `${COMMAND_LINE} quiet`, '--seed', '5'];
    const input = 'seq 1 500 | wc -l | sed s/^/lines=/\nexit\n';
    const [one, two] = await Promise.all([cloister(line, { input }), cloister(line, { input })]);
    expect(one.status, one.stderr).toBe(0);
    expect(one.stdout.toString('latin1')).toMatch(/\nlines=500\r?\n/);
    expect(one.stderr).toMatch(/no live input/);
    expect(Buffer.compare(one.stdout, two.stdout)).toBe(0);
  });

  test('Ctrl-A x ends the run and gives the terminal back', async () => {
    const { kernelPath } = guest as Guest;
    const live = startOnTerminal(['run', '--kernel', kernelPath, '--append', COMMAND_LINE]);
    await live.until(/Linux version/);
    live.type('\x01x');
    const { status } = await live.finished;
    expect(live.text).toMatch(/ended +Ctrl-A x/);
    expect(status).toBe(130);
  });
});
