// Debian's unmodified cloud kernel as a SEV guest: SEV-03 to SEV-07, both entries, its devices
// through bounce buffers, and what a host finds in its memory.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { emulated } from '@cloister/backend-emu';
import { type CpuExtension, createVm, definePlugin, type VmEnd } from '@cloister/core';
import { boot, linux } from '@cloister/core/boot';
import { pc, serial } from '@cloister/core/devices';
import { sev } from '@cloister/sev/launch';
import { virtioBlk, virtioMmio } from '@cloister/virtio';
import { fileDisk } from '@cloister/virtio/node';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { cloister, endAll, type Finished, measuresAsRun } from './lib/command.js';
import { BOOT_OK, COMMAND_LINE, debian, type Guest, initrd, skipped } from './lib/guests.js';
import { makePatternDisk } from './lib/pattern-disk.js';

const cloud = await debian();

const MODULES = ['virtio_mmio', 'virtio_blk', 'virtio_console', 'virtio_net'];
/** In the initrd, and what a process puts together; each twice, so that no text here holds it. */
const IN_INITRD = ['MARKER', 'OF', 'THE', 'INITRD', '5f1d'].join('-');
const WRITTEN = 'MARKER-WRITTEN-BY-A-PROCESS-77a0';

/** Counts the markers inside, copies through the disk and asks the network; all to hvc0. */
const SCRIPT = `#!/bin/sh
# ${IN_INITRD}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in ${MODULES.join(' ')}; do modprobe $module || echo NO-MODULE $module; done
exec > /dev/hvc0 2>&1
dmesg | grep -E 'Memory Encryption|SWIOTLB|C-bit' | sed 's/^[^]]*] /kernel: /'
grep -o -w sev /proc/cpuinfo
printf '%s-%s-%s\\n' MARKER WRITTEN-BY A-PROCESS-77a0 > /run/note
printf 'inside %s %s\\n' $(grep -c MARKER-OF /init) $(grep -c MARKER-WRITTEN /run/note)
dd if=/dev/vda of=/run/copy bs=4096 count=64 2>/dev/null
dd if=/run/copy of=/dev/vda bs=4096 seek=64 conv=fsync 2>/dev/null
md5sum < /run/copy
ifconfig eth0 10.9.8.7 netmask 255.255.255.0 up
ping -c 1 -W 1 10.9.8.1 > /dev/null
awk '$1 == "10.9.8.1" { print "neighbour", $3 }' /proc/net/arp
echo BOOT-OK
sleep 1
poweroff -f
`;

let folder: string;
const path = (name: string) => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-sev-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(endAll);

const text = ({ stdout }: Finished) => stdout.toString('latin1').replaceAll('\r', '');

describe.skipIf(typeof cloud === 'string')(`Debian under SEV${skipped(cloud)}`, () => {
  const guest = cloud as Guest;

  const words = async (init: string, name: string, options: string) => {
    const files = ['--kernel', guest.kernelPath, '--initrd', await initrd(guest, init, MODULES)];
    const fixed = '--seed 1 --memory 256M --timeout 280';
    const dump = ['--dump-memory', path(`${name}.ram`)];
    return [
      'run',
      ...files,
      '--append',
      COMMAND_LINE,
      ...`${fixed} ${options}`.split(' '),
      ...dump,
    ];
  };

  test('SEV-04 SEV-07: encrypted, through bounce buffers; the host finds nothing', async () => {
    const disks = [makePatternDisk(path('private')), makePatternDisk(path('plain'))];
    const devices = (disk: string) => `--console virtio --net passt --disk ${disk}`;
    const measure = path('measure');
    const protect = `--protect sev --measure-out ${measure} ${devices(disks[0]!)}`;
    const [secret, plain] = await Promise.all([
      cloister(await words(SCRIPT, 'private', protect)),
      cloister(await words(SCRIPT, 'plain', devices(disks[1]!))),
    ]);
    expect(secret.status, secret.stderr + text(secret)).toBe(0);
    expect(plain.status, plain.stderr).toBe(0);
    expect(text(secret)).toMatch(/^kernel: Memory Encryption Features active: AMD SEV$/m);
    expect(text(secret)).toMatch(/^kernel: .*software bounce buffering for IO \(SWIOTLB\)$/m);
    expect(text(plain)).not.toContain('Memory Encryption');
    const digests: string[] = [];
    for (const [index, run] of [secret, plain].entries()) {
      const out = text(run);
      expect(out).toMatch(/^inside [1-9]\d* 1$/m);
      expect(out, 'network').toMatch(/^neighbour 0x2$/m);
      expect(out).toMatch(/^BOOT-OK$/m);
      digests.push(/^[0-9a-f]{32}(?= )/m.exec(out)?.[0] ?? 'none');
      const disk = readFileSync(disks[index]!);
      expect(disk.subarray(disk.length / 2)).toEqual(disk.subarray(0, disk.length / 2));
    }
    expect(digests[0]).toBe(digests[1]);
    for (const marker of [IN_INITRD, WRITTEN]) {
      expect(readFileSync(path('plain.ram')).includes(marker), marker).toBe(true);
      expect(readFileSync(path('private.ram')).includes(marker), marker).toBe(false);
    }
    expect(readFileSync(path('private.ram')).length).toBe(256 << 20);
    // The summary says what was protected, how strongly, and what was measured.
    expect(secret.stderr).toMatch(/^ {2}protection +sev \(emulated\)$/m);
    expect(secret.stderr).toMatch(/this process holds the keys/);
    const measured = readFileSync(measure);
    expect(measured.length).toBe(48);
    expect(secret.stderr).toContain(measured.toString('hex', 0, 32));
    // The owner's prediction from the same words.
    const [, ...launch] = await words(SCRIPT, 'private', protect);
    const predicted = await measuresAsRun(launch, measure);
    expect(predicted.status, predicted.stderr + text(predicted)).toBe(0);
    const other = await measuresAsRun([...launch, '--rng'], measure);
    expect(other.status, other.stderr).toBe(1);
    expect(secret.stderr).toMatch(/^ {2}memory dump +0x0 at 0x0 \(268435456 bytes\)$/m);
  });

  test('SEV-05: by the 32-bit entry as well; by PVH not at all, and says why', async () => {
    const launch = await words(BOOT_OK, '32', `--protect sev --entry 32`);
    const run = await cloister([...launch, '--measure-out', path('measure-32')]);
    expect(run.status, run.stderr).toBe(0);
    expect((await measuresAsRun(launch.slice(1), path('measure-32'))).status).toBe(0);
    expect(text(run)).toMatch(/Memory Encryption Features active: AMD SEV$/m);
    expect(text(run)).toMatch(/^BOOT-OK$/m);
    const files = ['--kernel', await guest.vmlinuxPath(), '--entry', 'pvh', '--protect', 'sev'];
    const pvh = await cloister(['run', ...files]);
    expect(pvh.status).toBe(2);
    expect(pvh.stdout.length).toBe(0);
    expect(pvh.stderr).toMatch(/PVH entry can't work under sev: .*without the C-bit/);
  });

  /** Boots without the command; gives what came out of the serial port, and the end. */
  async function bootHere(options: {
    readonly init: string;
    readonly extension?: CpuExtension;
    readonly disk?: string;
    readonly until?: RegExp;
  }): Promise<{ out: string; end: VmEnd }> {
    const { init, extension, disk } = options;
    let out = '';
    const output = {
      put(byte: number) {
        out += String.fromCharCode(byte);
        return true;
      },
    };
    const kernel = readFileSync(guest.kernelPath);
    const archive = readFileSync(await initrd(guest, init, MODULES));
    const vm = await createVm({ memory: '256M', seed: 1 })
      .use(
        emulated(),
        pc(),
        serial({ output }),
        boot(linux({ kernel, initrd: archive, append: COMMAND_LINE })),
        sev({ platform: { seed: '1' } }),
        extension !== undefined &&
          definePlugin({
            name: 'liar',
            version: '1.0.0',
            api: 1,
            setup: (context) => context.addCpuExtension(extension),
          }),
        disk !== undefined && [
          virtioMmio({ accessPlatform: false }),
          virtioBlk({ disk: () => fileDisk(disk) }),
        ],
      )
      .build();
    try {
      return { end: await vm.run(), out };
    } finally {
      await vm.dispose();
    }
  }

  test('SEV-06: a C-bit in the wrong place is found before the kernel says a word', async () => {
    const liar: CpuExtension = {
      name: 'liar',
      cpuid(leaf, _subleaf, value) {
        if (leaf === 0x8000001f) value.ebx = (value.ebx & ~0x3f) | 50;
      },
    };
    const { out, end } = await bootHere({ init: BOOT_OK, extension: liar });
    expect(out).not.toContain('Linux version');
    // It halts, or its garbled tables end in a triple fault.
    expect(['halted', 'triple-fault']).toContain(end.reason);
  });

  test('SEV-07: without ACCESS_PLATFORM Linux refuses the device', async () => {
    const { out } = await bootHere({
      init: `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
modprobe virtio_mmio; modprobe virtio_blk
ls /dev/vda || echo NO-DISK
poweroff -f
`,
      disk: makePatternDisk(path('refused')),
    });
    expect(out).toContain('device must provide VIRTIO_F_ACCESS_PLATFORM');
    expect(out).toMatch(/^NO-DISK\r?$/m);
  });
});
