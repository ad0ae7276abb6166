// Debian's unmodified cloud kernel as a SEV or SEV-ES guest that moves, while it runs, from one
// emulated platform to another by SEND and RECEIVE: PSP-13. It reports what it shares by
// hypercalls. With SEV-ES the registers of its CPUs move as ciphertext. CLOISTER_FULL=1 moves more.
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeSnapshot, encodeSnapshot } from '@cloister/core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { cloister, endAll, type Finished, start } from './lib/command.js';
import { COMMAND_LINE, debian, type Guest, initrd, skipped } from './lib/guests.js';

const cloud = await debian();
const full = process.env['CLOISTER_FULL'] === '1';

const MODULES = ['virtio_mmio', 'virtio_blk', 'virtio_console'];
const LAST = 60;
/** In memory only: what the guest hands on. */
const NOTE = 'NOTE-OF-A-PROCESS-41c2';

/** Counts, and writes each number to the console and to the disk; last, CPUs go and come back. */
const SCRIPT = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in ${MODULES.join(' ')}; do modprobe $module || echo NO-MODULE $module; done
exec > /dev/hvc0 2>&1
printf '%s-%s\\n' NOTE OF-A-PROCESS-41c2 > /run/note
i=0
while [ $i -lt ${LAST} ]; do
  i=$((i + 1))
  echo "$i" | dd of=/dev/vda bs=512 seek=$i count=1 conv=fsync,sync 2>/dev/null
  echo "count $i"
done
cat /run/note
dmesg | sed -n 's/.*Memory Encryption Features active: //p'
for state in 0 1; do
  for cpu in /sys/devices/system/cpu/cpu[0-9]*/online; do echo $state > $cpu; done 2> /dev/null
  echo "online $(cat /sys/devices/system/cpu/online)"
done
echo BOOT-OK
poweroff -f
`;

let folder: string;
const path = (name: string) => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-sev-migration-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(endAll);

const text = ({ stdout }: Finished) => stdout.toString('latin1').replaceAll('\r', '');
const counts = (out: string) =>
  [...out.matchAll(/^count (\d+)$/gm)].map((match) => Number(match[1]));

async function psp(...args: readonly string[]): Promise<void> {
  const { status, stderr } = await cloister(['psp', ...args]);
  expect(status, stderr).toBe(0);
}

interface Packets {
  readonly state: {
    readonly protection: { readonly state: Readonly<Record<'packets' | 'vmsas', Packet[]>> };
  };
}

interface Packet {
  readonly ciphertext: Uint8Array;
}

/** The packets in which one byte is changed: of memory, or of the registers of a CPU. */
const CHANGED = { sev: 'packets', 'sev-es': 'vmsas' } as const;

const CASES = [
  ['sev', 1, 'AMD SEV'],
  ['sev-es', 2, 'AMD SEV SEV-ES'],
  ['sev-es', 4, 'AMD SEV SEV-ES'],
] as const;

describe.skipIf(typeof cloud === 'string')(`a guest that moves${skipped(cloud)}`, () => {
  const cases = full ? CASES : CASES.slice(0, 2);
  test.each(cases)('%s, CPUs: %i: counts on; a changed stream is refused', async (...given) => {
    const [protect, cpus, active] = given;
    const guest = cloud as Guest;
    const force = (name: string) => rmSync(path(name), { force: true, recursive: true });
    for (const name of ['here', 'there', 'certificates']) force(name);
    await psp('init', path('here'));
    await psp('init', path('there'), '--maker', path('here'));
    await psp('export', path('there'), '--out', path('certificates'));
    writeFileSync(path('disk'), Buffer.alloc(64 * 1024));
    const fixed = ['--protect', protect, '--timeout', '280', '--console', 'virtio'];
    const common = ['run', ...fixed, '--disk', path('disk')];
    const machine = ['--memory', '160M', '--cpus', String(cpus)];
    const first = start([
      ...[...common, ...machine, '--platform', path('here')],
      ...['--kernel', guest.kernelPath, '--initrd', await initrd(guest, SCRIPT, MODULES)],
      ...['--append', COMMAND_LINE, '--save', path('state'), '--send-to', path('certificates')],
    ]);
    await first.until(/count 9\r?\n/);
    first.child.kill('SIGTERM');
    const before = await first.finished;
    expect(before.status, before.stderr).toBe(143);
    const head = text(before);
    expect(counts(head).length).toBeLessThan(LAST);
    expect(statSync(path('state')).mode & 0o77).toBe(0);

    const snapshot = await decodeSnapshot(readFileSync(path('state')));
    const saved = Buffer.concat([...blobsOf(snapshot)]);
    expect(saved.includes(NOTE)).toBe(false);

    const restore = (platform: string, state: string) =>
      cloister([...common, '--platform', path(platform), '--restore', path(state)]);
    const packets = (snapshot as unknown as Packets).state.protection.state[CHANGED[protect]];
    const { ciphertext } = packets[packets.length >> 1]!;
    ciphertext[77]! ^= 4;
    writeFileSync(path('changed'), await encodeSnapshot(snapshot));
    const changed = await restore('there', 'changed');
    expect(changed.status).not.toBe(0);
    expect(changed.stderr).toMatch(/refuses RECEIVE_UPDATE_(DATA|VMSA): BAD_MEASUREMENT/);
    const elsewhere = await restore('here', 'state');
    expect(elsewhere.stderr).toMatch(/refuses RECEIVE_START: BAD_MEASUREMENT/);

    const after = await restore('there', 'state');
    expect(after.status, after.stderr + text(after)).toBe(0);
    expect(after.stderr).toMatch(/^ {2}boot +restored$/m);
    expect(after.stderr).toMatch(new RegExp(`^ {2}protection +${protect} \\(emulated\\)$`, 'm'));
    // The numbers of both go on from one to the other: none is lost, none comes twice.
    const numbers = Array.from({ length: LAST }, (_, at) => at + 1);
    expect(counts(head + text(after))).toEqual(numbers);
    const all = cpus === 1 ? '0' : `0-${cpus - 1}`;
    const last = [NOTE, active, 'online 0', `online ${all}`, 'BOOT-OK'];
    expect(text(after)).toMatch(new RegExp(`^${last.join('\n')}$`, 'm'));
    const disk = readFileSync(path('disk'));
    const written = numbers.map((at) => disk.toString('latin1', at * 512, at * 512 + 3));
    expect(written.map((each) => Number.parseInt(each, 10))).toEqual(numbers);
  });
});

/** All bytes of a record. */
function* blobsOf(value: unknown): Generator<Uint8Array> {
  if (value instanceof Uint8Array) yield value;
  else if (typeof value === 'object' && value !== null) {
    for (const each of Object.values(value)) yield* blobsOf(each);
  }
}
