// A guest that packs, unpacks and executes what it unpacked, in a loop: code is translated and
// overwritten all the time, and neither translations nor the process grow. Ten minutes of it under
// CLOISTER_FULL=1, a few rounds otherwise; how many it were is printed.
import { readFileSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { endAll, start } from './lib/command.js';
import { COMMAND_LINE, debian, initrd, skipped } from './lib/guests.js';

const FULL = process.env['CLOISTER_FULL'] === '1';
const ROUNDS = FULL ? Number.POSITIVE_INFINITY : 3;
const MILLISECONDS = FULL ? 600_000 : Number.POSITIVE_INFINITY;
/** Most translations that are kept: `REGIONS_MAX` of the translator. */
const LIVE_MAX = 8000;
/** What the process may grow by after its first rounds, in bytes. */
const GROWTH_MAX = 96 << 20;

const UNPACKING = `#!/bin/sh
mount -t proc proc /proc
echo STARTED
busybox gzip -c < /bin/busybox > /packed
echo PACKED
i=0
while true; do
  busybox gunzip -c < /packed > /program$((i % 3))
  busybox chmod +x /program$((i % 3))
  echo UNPACKED
  /program$((i % 3)) sha256sum /packed > /dev/null
  /program$((i % 3)) awk 'BEGIN { for (i = 0; i < 2000; i++) a[i % 7] += i }'
  i=$((i + 1))
  echo "ROUND $i"
done
`;

const guest = await debian();

afterEach(endAll);

/** Resident bytes of a process (proc_pid_status(5)). */
function residentBytes(pid: number): number {
  const [, kib = '0'] =
    /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}

function counted(summary: string, what: string): number {
  const [, count = 'NaN'] = new RegExp(`^ *${what} +([\\d,]+)$`, 'm').exec(summary) ?? [];
  return Number(count.replaceAll(',', ''));
}

test.skipIf(typeof guest === 'string')(
  `translations and memory stay bounded${skipped(guest)}`,
  async () => {
    if (typeof guest === 'string') return;
    const running = start([
      ...['run', '--memory', '256M', '--kernel', guest.kernelPath],
      ...['--initrd', await initrd(guest, UNPACKING), '--append', `${COMMAND_LINE} quiet`],
    ]);
    const until = performance.now() + MILLISECONDS;
    const resident: number[] = [];
    while (resident.length < ROUNDS && performance.now() < until) {
      await running.until(new RegExp(`^ROUND ${resident.length + 1}\\r?$`, 'm'));
      resident.push(residentBytes(running.child.pid!));
    }
    running.child.kill('SIGTERM');
    const { status, stderr } = await running.finished;
    expect(status, stderr).toBe(143);
    const translated = counted(stderr, 'regions translated');
    const dropped = counted(stderr, 'regions dropped');
    const mib = resident.map((bytes) => Math.round(bytes / 2 ** 20));
    process.stdout.write(
      `${resident.length} rounds: ${translated} regions, ${dropped} of them dropped; ` +
        `resident MiB ${mib.slice(0, 3).join(', ')} … ${mib.at(-1)}\n`,
    );
    // Pages that are overwritten in every round are soon translated no more.
    expect(dropped).toBeGreaterThan(0);
    expect(translated - dropped).toBeGreaterThan(0);
    expect(translated - dropped).toBeLessThanOrEqual(LIVE_MAX);
    const settled = Math.max(...resident.slice(0, Math.ceil(resident.length / 4)));
    expect(Math.max(...resident) - settled).toBeLessThan(GROWTH_MAX);
  },
  FULL ? 1_200_000 : 300_000,
);
