// Debian's unmodified cloud kernel as a SEV-ES guest: ES-17 and ES-18, both entries, one CPU and
// four, its devices through bounce buffers, a CPU taken offline and back, and every event that its
// #VC handler asked the hypervisor about. CLOISTER_FULL=1 runs all combinations.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { cloister, endAll, type Finished, measuresAsRun } from './lib/command.js';
import { COMMAND_LINE, debian, type Guest, initrd, skipped } from './lib/guests.js';
import { makePatternDisk } from './lib/pattern-disk.js';

const cloud = await debian();
const full = process.env['CLOISTER_FULL'] === '1';

const MODULES = ['virtio_mmio', 'virtio_blk', 'virtio_console', 'virtio_net'];
/** Of this text the host finds nothing; put together, so that no file here holds it. */
const MARKER = ['MARKER', 'OF', 'THE', 'INITRD', '7e21'].join('-');

/** Copies through the disk, asks the network, takes a CPU away and back; all to hvc0. */
const SCRIPT = `#!/bin/sh
# ${MARKER}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in ${MODULES.join(' ')}; do modprobe $module || echo NO-MODULE $module; done
exec > /dev/hvc0 2>&1
dmesg | grep -E 'Memory Encryption|SWIOTLB' | sed 's/^[^]]*] /kernel: /'
online=/sys/devices/system/cpu/online
echo "online $(cat $online)"
for state in 0 1; do
  for cpu in /sys/devices/system/cpu/cpu[0-9]*/online; do echo $state > $cpu; done 2> /dev/null
  echo "online $(cat $online)"
done
grep -c ^processor /proc/cpuinfo
dd if=/dev/vda of=/run/copy bs=4096 count=64 2>/dev/null
dd if=/run/copy of=/dev/vda bs=4096 seek=64 conv=fsync 2>/dev/null
ifconfig eth0 10.9.8.7 netmask 255.255.255.0 up
ping -c 1 -W 1 10.9.8.1 > /dev/null
awk '$1 == "10.9.8.1" { print "neighbour", $3 }' /proc/net/arp
echo BOOT-OK
sleep 1
poweroff -f
`;

/** What the guest may ask, by GHCB and by the MSR protocol, of a hypervisor like KVM. */
const KNOWN = new Set([
  ...['CPUID', 'IOIO', 'MSR', 'VMMCALL', 'RDTSC', 'RDTSCP', 'RDPMC', 'WBINVD', 'READ_DR7'],
  ...['WRITE_DR7', 'MONITOR', 'MWAIT', 'MMIO_READ', 'MMIO_WRITE', 'NMI_COMPLETE'],
  ...['AP_RESET_HOLD', 'AP_JUMP_TABLE', 'CPUID_REQUEST', 'SEV_INFO_REQUEST'],
  ...['AP_RESET_HOLD_REQUEST'],
]);

let folder: string;
const path = (name: string) => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-sev-es-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(endAll);

const text = ({ stdout }: Finished) => stdout.toString('latin1').replaceAll('\r', '');

/** `NAME count, …` of a row of the summary. */
function counted(summary: string, row: string): Map<string, number> {
  const list = new RegExp(`^ +${row} +(.*)$`, 'm').exec(summary)?.[1] ?? '';
  return new Map(
    list.split(', ').map((each) => {
      const at = each.lastIndexOf(' ');
      return [each.slice(0, at), Number(each.slice(at + 1))];
    }),
  );
}

describe.skipIf(typeof cloud === 'string')(`Debian under SEV-ES${skipped(cloud)}`, () => {
  const guest = cloud as Guest;
  const all = [
    [64, 4],
    [64, 1],
    [32, 1],
    [32, 4],
  ] as const;

  test.each(full ? all : all.slice(0, 1))(
    'ES-18: by the %i-bit entry, CPUs: %i',
    async (entry, cpus) => {
      const name = `${entry}-${cpus}`;
      const disk = makePatternDisk(path(name));
      const files = [
        '--kernel',
        guest.kernelPath,
        '--initrd',
        await initrd(guest, SCRIPT, MODULES),
      ];
      const machine = `--seed 1 --memory 256M --cpus ${cpus} --entry ${entry} --timeout 280`;
      const devices = `--console virtio --net passt --disk ${disk} --dump-memory ${path('ram')}`;
      const measured = ['--measure-out', path('measure')];
      const words = [
        ...['--protect', 'sev-es', ...files, '--append', COMMAND_LINE],
        ...`${machine} ${devices}`.split(' '),
      ];
      const run = await cloister(['run', ...words, ...measured]);
      const out = text(run);
      expect(run.status, run.stderr + out).toBe(0);
      expect(out).toMatch(/^kernel: Memory Encryption Features active: AMD SEV SEV-ES$/m);
      expect(out).toMatch(/^kernel: .*software bounce buffering for IO \(SWIOTLB\)$/m);
      const every = cpus === 1 ? '0' : `0-${cpus - 1}`;
      expect(out.match(/^online .*$/gm)).toEqual([
        `online ${every}`,
        'online 0',
        `online ${every}`,
      ]);
      expect(out).toMatch(new RegExp(`^${cpus}$`, 'm'));
      expect(out, 'network').toMatch(/^neighbour 0x2$/m);
      expect(out).toMatch(/^BOOT-OK$/m);
      const copied = readFileSync(disk);
      expect(copied.subarray(copied.length / 2)).toEqual(copied.subarray(0, copied.length / 2));
      expect(readFileSync(path('ram')).includes(MARKER)).toBe(false);

      const predicted = await measuresAsRun(words, path('measure'));
      expect(predicted.status, predicted.stderr + text(predicted)).toBe(0);
      expect(run.stderr).toMatch(/^ {2}protection +sev-es \(emulated\)$/m);
      const events = counted(run.stderr, 'GHCB events');
      const requests = counted(run.stderr, 'GHCB MSR requests');
      const unknown = [...events, ...requests].filter(([each]) => !KNOWN.has(each));
      expect(unknown).toEqual([]);
      for (const needed of ['CPUID', 'IOIO', 'MSR', 'MMIO_READ', 'MMIO_WRITE', 'AP_JUMP_TABLE']) {
        expect(events.get(needed), needed).toBeGreaterThan(0);
      }
      expect(requests.get('SEV_INFO_REQUEST')).toBe(2);
    },
  );
});
