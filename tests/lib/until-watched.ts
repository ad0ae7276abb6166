// Keeps a guest busy until the thread is up that waits for the event loop while guests run: it is
// started for busy guests only, and stays for a while.
import { stat } from 'node:fs';
import type { makeVm } from '@cloister/backend-kvm/testing';

/** Of a VM whose first CPU spins. */
export async function untilWatched(vm: Awaited<ReturnType<typeof makeVm>>): Promise<void> {
  for (;;) {
    // The event loop gets something to do: only that thread can tell.
    const told = new Promise((resolve) => stat('/', resolve));
    const end = vm.vcpus[0]!.run(20e6, () => {});
    await told;
    if (end === 'kicked') return;
    if (end !== 'slice') throw new Error(`the guest was to be busy, and its run ended: ${end}`);
  }
}
