// Console, entropy and balloon under Debian's unmodified kernel, from the guest's shell.
import { readFileSync } from 'node:fs';
import { emulated } from '@cloister/backend-emu';
import { createVm, type Vm } from '@cloister/core';
import { boot, linux } from '@cloister/core/boot';
import { pc, serial } from '@cloister/core/devices';
import {
  BALLOON,
  VIRTIO_CONSOLE,
  virtioBalloon,
  virtioConsole,
  virtioMmio,
  virtioPci,
  virtioRng,
} from '@cloister/virtio';
import { afterEach, describe, expect, test } from 'vitest';
import { COMMAND_LINE, debian, type Guest, initrd, skipped } from './lib/guests.js';

const guest = await debian();
const MODULES = [
  ...['virtio_mmio', 'virtio_pci', 'virtio_console', 'virtio_rng', 'virtio_balloon'],
];

const SCRIPT = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in ${MODULES.join(' ')}; do modprobe $module || echo NO-MODULE $module; done
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do cp /bin/busybox /run/x$i; done
rm /run/x*
exec < /dev/hvc0 > /dev/hvc0 2>&1
stty -echo
echo "ready"
read line
echo "got=$line"
echo "rng=$(cat /sys/class/misc/hw_random/rng_current)"
echo "random=$(dd if=/dev/hwrng bs=16 count=1 2>/dev/null | wc -c)"
for port in /sys/class/virtio-ports/*; do
  if [ "$(cat $port/name)" = agent ]; then agent=/dev/$(basename $port); fi
done
if [ -n "$agent" ]; then
  exec 3<> $agent
  echo hello >&3
  read reply <&3
  echo "agent=$reply"
else
  echo "size=$(stty size)"
  read line
  echo "resized=$(stty size)"
fi
mount -t tmpfs tmpfs /mnt
dd if=/dev/urandom of=/mnt/fill bs=1M count=24 2>/dev/null
echo "filled"
read line
rm /mnt/fill
echo "freed"
sleep 5
echo "reported"
read line
echo "inflate $(awk '/MemFree/ { print $2 }' /proc/meminfo)"
read line
echo "deflate $(awk '/MemFree/ { print $2 }' /proc/meminfo)"
read line
echo "end $(awk '/MemFree/ { print $2 }' /proc/meminfo)"
poweroff -f
`;

const MIB = 2 ** 20;

let running: Vm | undefined;
afterEach(() => running?.dispose());

/** What a port of the guest's has put out, and waiting for it. */
class Transcript {
  text = '';
  readonly #waiting: (() => void)[] = [];

  put(byte: number): boolean {
    this.text += String.fromCharCode(byte);
    for (const wake of this.#waiting.splice(0)) wake();
    return true;
  }

  async until(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.text);
      if (found !== null) return found;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }
}

/** Pages of guest memory that hold nothing but zeroes. */
function zeroPages({ memory }: Vm): number {
  const page = new Uint8Array(4096);
  const words = new BigUint64Array(page.buffer);
  let count = 0;
  for (let gpa = 0; gpa < memory.ramSize; gpa += 4096) {
    memory.read(gpa, page);
    if (words.every((word) => word === 0n)) count++;
  }
  return count;
}

const text = (data: string) => new TextEncoder().encode(data);

describe.skipIf(typeof guest === 'string')(`from the shell of Debian${skipped(guest)}`, () => {
  test.each([
    { transport: 'mmio', plugin: virtioMmio, packed: false, ports: ['agent'] },
    { transport: 'pci', plugin: virtioPci, packed: true, ports: [] },
    // Linux before 6.15 reads the size in a message of a console with ports the wrong way round;
    // with one port it comes by the configuration.
  ])('console, ports, entropy and balloon work over $transport, packed $packed', async (row) => {
    const { kernelPath } = guest as Guest;
    const ramdisk = readFileSync(await initrd(guest as Guest, SCRIPT, MODULES));
    const console = new Transcript();
    const agent = new Transcript();
    const never = { live: false, connect() {} };
    // Linux reports free pages while more than 64 MiB of a zone are free.
    const vm = await createVm({ memory: '256M', seed: 3, clock: 'icount' })
      .use(
        emulated(),
        pc(),
        serial(),
        row.plugin({ packed: row.packed }),
        virtioConsole({
          output: console,
          input: never,
          ports: row.ports.map((name) => ({ name, output: agent, input: never })),
        }),
        virtioRng(),
        virtioBalloon(),
        boot(linux({ kernel: readFileSync(kernelPath), initrd: ramdisk, append: COMMAND_LINE })),
      )
      .build();
    running = vm;
    const { inputs, resize } = vm.get(VIRTIO_CONSOLE);
    const balloon = vm.get(BALLOON);
    for (const input of inputs) input.setLive(true);
    const end = vm.run();

    await console.until(/ready\r?\n/);
    inputs[0]!.push(text('typed by hand\n'));
    await console.until(/got=typed by hand\r?\n/);
    await console.until(/rng=virtio_rng\.\d+\r?\n/);
    await console.until(/random=16\r?\n/);
    if (row.ports.length > 0) {
      await agent.until(/hello/);
      inputs[1]!.push(text('hello yourself\n'));
      await console.until(/agent=hello yourself\r?\n/);
    } else {
      await console.until(/size=25 80\r?\n/);
      resize(132, 50);
      inputs[0]!.push(text('go on\n'));
      await console.until(/resized=50 132\r?\n/);
    }

    await console.until(/filled\r?\n/);
    const { reportedBytes } = balloon.counters;
    const filled = zeroPages(vm);
    inputs[0]!.push(text('go on\n'));
    // What the guest frees it reports by itself, two seconds later: the host has it back.
    await console.until(/reported\r?\n/);
    expect(balloon.counters.reportedBytes - reportedBytes).toBeGreaterThan(16 * MIB);
    expect(zeroPages(vm)).toBeGreaterThan(filled + (16 * MIB) / 4096);
    inputs[0]!.push(text('go on\n'));

    const [, before] = await console.until(/inflate (\d+)\r?\n/);
    const zeroBefore = zeroPages(vm);
    balloon.setTarget(48 * MIB);
    while (balloon.counters.actual < (48 * MIB) / 4096) await turn();
    // Pages that the guest had used are the host's again, and read as zeroes.
    expect(balloon.counters.inflatedPages).toBeGreaterThanOrEqual((48 * MIB) / 4096);
    expect(zeroPages(vm)).toBeGreaterThan(zeroBefore + (10 * MIB) / 4096);
    inputs[0]!.push(text('go on\n'));
    const [, during] = await console.until(/deflate (\d+)\r?\n/);
    expect(Number(before) - Number(during)).toBeGreaterThan(40 * 1024);

    expect(balloon.counters.statistics.size).toBeGreaterThan(0);
    balloon.setTarget(0);
    while (balloon.counters.actual > 0) await turn();
    inputs[0]!.push(text('go on\n'));
    const [, after] = await console.until(/end (\d+)\r?\n/);
    expect(Number(after) - Number(during)).toBeGreaterThan(40 * 1024);
    expect((await end).reason).toBe('power-off');
  });
});

function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 5));
}
