/**
 * A guest whose every VMGEXIT is 64 KiB of string I/O or MMIO: the host's event loop gets its turns
 * all the same.
 */
import { emulated } from '@cloister/backend-emu';
import { expect, test } from 'vitest';
import { GHCB, NAE } from '../abi/ghcb.js';
import { EXIT } from '../abi/vmcb.js';
import { es, esImage } from '../testing/es-guest.js';
import { ioInfo } from '../testing/hypervisor-bench.js';
import { microVm } from '../testing/micro-guest.js';
import { sevEs } from './sev-es.js';

const STRING = ioInfo(0x300, 1, { string: true, rep: true, input: true });
const SCRATCH = { [GHCB.SW_SCRATCH]: 0x410000n };
/** More instructions than the guest gets through in one turn, fewer than a slice has. */
const FEW = 50_000;

/** The instruction again and again. */
function forever(once: readonly number[]): number[] {
  const back = -(once.length + 5);
  return [...once, 0xe9, ...[0, 8, 16, 24].map((shift) => (back >> shift) & 0xff)];
}

test.each([
  ['INS', es.event(EXIT.IOIO, STRING, 0xffffn, SCRATCH)],
  ['MMIO', es.event(NAE.MMIO_READ, 0xfed0_0000n, 0xffffn, SCRATCH)],
])('%s of 64 KiB forever: the host gets its turn soon', async (_name, once) => {
  const vm = await microVm({
    code: esImage(forever(once)),
    backend: emulated({ tuneHost: false }),
    plugins: [sevEs({ platform: { seed: 'turns' } })],
  });
  const done = vm.run();
  try {
    let turns = 0;
    while (vm.summary().instructions < 2000) await new Promise((resolve) => setImmediate(resolve));
    const before = vm.summary().instructions;
    while (turns++ < 10) await new Promise((resolve) => setImmediate(resolve));
    expect((vm.summary().instructions - before) / turns).toBeLessThan(FEW);
  } finally {
    vm.stop();
    await done;
    await vm.dispose();
  }
});
