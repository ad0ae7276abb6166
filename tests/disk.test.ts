// Disks under Debian's unmodified kernel: an ext4 made on the host is written and read back, stays
// sound through a power cut and behind an overlay; a run with a disk replays, is saved and goes on.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  existsSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeSnapshot } from '@cloister/core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { sha256 } from '../tools/guest-image/index.mjs';
import { cloister, endAll, start } from './lib/command.js';
import { COMMAND_LINE, debian, type Guest, initrd, skipped } from './lib/guests.js';

const guest = await debian();
/** Where e2fsprogs is: no user's path need have it. */
const SBIN = ['/sbin', '/usr/sbin'].find((folder) => existsSync(`${folder}/mkfs.ext4`));
const why = skipped(guest) || (SBIN === undefined ? ' (skipped: no e2fsprogs)' : '');

/** MiB written and read back: 64 in a full run, as much as a sample needs otherwise. */
const MIB = process.env['CLOISTER_FULL'] === '1' ? 64 : 4;
const MODULES = ['virtio_mmio', 'virtio_pci', 'virtio_blk', 'virtio_rng'];
/** The register of the first virtio-mmio slot. */
const QUEUE_NOTIFY = 0xd000_0050;
const DISK_BYTES = 192 * 2 ** 20;

let folder: string;
const path = (name: string) => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-disk-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(endAll);

/** An init script that loads the drivers, does `work` and switches off. */
const script = (work: string) => `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in ${MODULES.join(' ')}; do modprobe $module || echo NO-MODULE $module; done
${work}
poweroff -f
`;

async function line(work: string): Promise<string[]> {
  const files = [
    ['--kernel', (guest as Guest).kernelPath],
    ['--initrd', await initrd(guest as Guest, script(work), MODULES)],
  ].flat();
  return ['run', '--memory', '256M', '--seed', '7', ...files, '--append', `${COMMAND_LINE} quiet`];
}

/** A fresh ext4 file system. */
function ext4(name: string): string {
  const file = path(name);
  const handle = openSync(file, 'w');
  ftruncateSync(handle, DISK_BYTES);
  closeSync(handle);
  execFileSync(`${SBIN}/mkfs.ext4`, ['-q', '-F', file]);
  return file;
}

const fsck = (file: string, flag: string) => spawnSync(`${SBIN}/e2fsck`, ['-f', flag, file]);
const text = (bytes: Buffer) => bytes.toString('latin1').replaceAll('\r', '');

const WRITE = `mount -t ext4 /dev/vda /mnt && echo MOUNTED
dd if=/dev/urandom of=/mnt/data bs=1M count=${MIB} 2>/dev/null
sync
md5sum /mnt/data
echo 3 > /proc/sys/vm/drop_caches
md5sum /mnt/data
cat /sys/block/vda/serial; echo
umount /mnt && echo UNMOUNTED`;

describe.skipIf(why !== '')(`an ext4 disk${why}`, () => {
  test(`takes ${MIB} MiB and gives them back; the recording replays; fsck is content`, async () => {
    const disk = ext4('disk');
    const run = [...(await line(WRITE)), '--disk', `${disk},serial=S-1`, '--rng'];
    const live = await cloister([...run, '--record', path('r'), '--exits', path('live')]);
    expect(live.status, live.stderr).toBe(0);
    const out = text(live.stdout);
    const sums = out.match(/^[0-9a-f]{32}(?= {2}\/mnt\/data$)/gm);
    expect(sums, out).toHaveLength(2);
    expect(sums![0]).toBe(sums![1]);
    expect(out).toMatch(/MOUNTED[\s\S]*\nS-1\n[\s\S]*UNMOUNTED/);
    expect(fsck(disk, '-n').status).toBe(0);

    // The replay has all data from the recording: the disk as it is now is left alone.
    const before = sha256(readFileSync(disk));
    const replay = await cloister([...run, '--replay', path('r'), '--exits', path('replay')]);
    expect(replay.status, replay.stderr).toBe(0);
    expect(Buffer.compare(replay.stdout, live.stdout)).toBe(0);
    expect(Buffer.compare(readFileSync(path('replay')), readFileSync(path('live')))).toBe(0);
    expect(sha256(readFileSync(disk))).toBe(before);
  });

  test('is sound after a power cut in mid-write', async () => {
    const disk = ext4('cut');
    const work = `mount -t ext4 /dev/vda /mnt
i=0
while true; do
  i=$((i + 1))
  dd if=/dev/zero of=/mnt/f$((i % 40)) bs=64k count=8 2>/dev/null
  sync
  echo WROTE $i
done`;
    const run = start([...(await line(work)), '--disk', disk]);
    await run.until(/WROTE 12\r?\n/);
    run.child.kill('SIGKILL');
    await run.finished;
    // The journal is replayed (1: errors were corrected is what e2fsck says of that), then all is
    // well without any correction.
    expect(fsck(disk, '-p').status).toBeLessThanOrEqual(1);
    expect(fsck(disk, '-n').status).toBe(0);
    const list = ['-R', 'ls -p /', disk];
    const files = execFileSync(`${SBIN}/debugfs`, list, { stdio: 'pipe' });
    expect(files.toString()).toMatch(/\/f1\//);
  });

  test('stays as it is behind an overlay, which keeps what was written, over PCI too', async () => {
    const disk = ext4('base');
    const before = sha256(readFileSync(disk));
    const overlay = ['--disk', `${disk},overlay=${path('overlay')}`];
    const write = `mount -t ext4 /dev/vda /mnt; echo kept > /mnt/note; umount /mnt; echo DONE`;
    const first = await cloister([...(await line(write)), ...overlay]);
    expect(first.status, first.stderr).toBe(0);
    expect(text(first.stdout)).toMatch(/\nDONE\n/);
    expect(sha256(readFileSync(disk))).toBe(before);
    const read = `mount -t ext4 -o ro /dev/vda /mnt; cat /mnt/note
mount -t ext4 -o ro /dev/vdb /tmp; ls /tmp`;
    const more = [...overlay, '--disk', `${disk},ro`, '--virtio', 'pci'];
    const second = await cloister([...(await line(read)), ...more]);
    expect(text(second.stdout)).toMatch(/^kept\nlost\+found$/m);
    expect(sha256(readFileSync(disk))).toBe(before);
  });

  test('goes on in a new process from where a VM was saved, requests under way', async () => {
    const fresh = ext4('fresh');
    const disk = path('saved');
    // Long enough that requests wait at any moment.
    const run = [...(await line(WRITE)), '--disk', `${disk},latency=100`];
    copyFileSync(fresh, disk);
    const whole = await cloister([...run, '--exits', path('exits')]);
    expect(whole.status, whole.stderr).toBe(0);

    copyFileSync(fresh, disk);
    const at = String(midTraffic(readFileSync(path('exits'), 'utf8')));
    const first = await cloister([...run, '--save', path('vm'), '--save-at', at]);
    expect(first.status, first.stderr).toBe(0);
    const { devices } = (await decodeSnapshot(readFileSync(path('vm'))))
      .state as unknown as SavedState;
    expect(devices.blk0.state.controller.model.inFlight.length).toBeGreaterThan(0);
    const second = await cloister([...run, '--restore', path('vm')]);
    expect(second.status, second.stderr).toBe(0);
    expect(text(first.stdout) + text(second.stdout)).toBe(text(whole.stdout));
    expect(fsck(disk, '-n').status).toBe(0);
  });
});

interface SavedState {
  readonly devices: {
    readonly blk0: {
      readonly state: {
        readonly controller: { readonly model: { readonly inFlight: readonly unknown[] } };
      };
    };
  };
}

/** An instruction soon after the disk was notified, in the midst of its traffic. */
function midTraffic(log: string): number {
  const notifications = log.split('\n').filter((line) => line.includes(`"gpa":${QUEUE_NOTIFY},`));
  const middle = notifications[Math.floor(notifications.length / 2)]!;
  // Requests take 100000 instructions.
  return Number(/"instructions":(\d+)/.exec(middle)![1]) + 20_000;
}
